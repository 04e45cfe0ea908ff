"""Setting a new password: what it must differ from, and all that ends with the old one."""

from uuid import UUID

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import emails
from auth.account.errors import PasswordUsedBefore
from auth.events import MailKind
from auth.models import EmailToken, EndReason, Membership, PasswordBefore, Purpose, Session, Tenant, User
from auth.security import password_policy
from auth.services import Parts
from auth.sessions import sessions


async def fit(parts: Parts, user: User, password: str) -> str:
    """Give the hash of a password that a person may take.

    Raises PasswordUsedBefore, and as `password_policy.check` does.
    """
    count = parts.settings.auth_password_history_count
    async with parts.database.begin() as db:
        own = select(Tenant.name).join(Membership).where(Membership.user_id == user.id)
        names = [user.email, user.display_name, *await db.scalars(own)]
        before = select(PasswordBefore.password_hash).where(PasswordBefore.user_id == user.id)
        newest = before.order_by(PasswordBefore.replaced_at.desc()).limit(count)
        hashes = [user.password_hash, *await db.scalars(newest)][:count]
    password_policy.check(password, names)
    # Always as many, and all of them: the time tells neither how many there were nor which it was.
    padded = [*hashes, *[None] * (count - len(hashes))]
    if any([await parts.passwords.verify(password, kept) for kept in padded]):
        raise PasswordUsedBefore
    return await parts.passwords.hash(password)


async def replace(
    db: AsyncSession, parts: Parts, user: User, password_hash: str, *, keeping: UUID | None = None
) -> None:
    """Set a password, and end what the old one may have opened to others; `keeping` is a session to be kept.

    The caller holds the person's row.
    """
    await exchange(db, parts, user, password_hash)
    await others_out(db, parts, user, keeping)
    emails.send(db, parts, MailKind.PASSWORD_CHANGED, emails.Recipient.of(user))


async def withdraw(db: AsyncSession, parts: Parts, user: User) -> None:
    """Take a password away, and end what it may have opened: the next one is set by mail.

    The caller holds the person's row, and tells them.
    """
    await exchange(db, parts, user, None)
    await others_out(db, parts, user)


async def exchange(db: AsyncSession, parts: Parts, user: User, password_hash: str | None) -> None:
    """Put one hash, or none, in the place of another, which does not come again."""
    if user.password_hash:
        db.add(PasswordBefore(user_id=user.id, password_hash=user.password_hash))
    user.password_hash = password_hash
    await db.flush()
    await forget_oldest(db, user, parts.settings.auth_password_history_count)


async def others_out(db: AsyncSession, parts: Parts, user: User, keeping: UUID | None = None) -> None:
    """End what somebody else may have begun or asked for: sessions, and tokens that change the account."""
    others: list[ColumnElement[bool]] = [Session.id != keeping] if keeping else []
    await sessions.end(db, EndReason.ACCOUNT, Session.user_id == user.id, *others)
    await parts.email_tokens.void(db, user, EmailToken.purpose != Purpose.EMAIL_VERIFICATION)
    user.new_email = None


async def forget_oldest(db: AsyncSession, user: User, count: int) -> None:
    """Keep no more hashes than a new password is compared with, the present one beside them."""
    own = select(PasswordBefore.id).where(PasswordBefore.user_id == user.id)
    newest = own.order_by(PasswordBefore.replaced_at.desc()).limit(max(count - 1, 0))
    older = (PasswordBefore.user_id == user.id, PasswordBefore.id.not_in(newest))
    await db.execute(delete(PasswordBefore).where(*older))

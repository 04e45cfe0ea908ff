"""Set a new password: what it must differ from, and what ends with the old one."""

from uuid import UUID

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import emails
from auth.account.errors import PasswordAlreadyUsed
from auth.events import EmailKind
from auth.models import EmailToken, EndReason, Membership, PasswordHistory, Purpose, Session, Tenant, User
from auth.security import password_policy
from auth.services import AuthServices
from auth.sessions import sessions


async def validate_new_password(services: AuthServices, user: User, password: str) -> str:
    """Validate a new password, and return its hash.

    Raises PasswordAlreadyUsed, and as `password_policy.validate` does.
    """
    count = services.settings.auth_password_history_count
    async with services.database.begin() as db:
        own = select(Tenant.name).join(Membership).where(Membership.user_id == user.id)
        names = [user.email, user.display_name, *await db.scalars(own)]
        before = select(PasswordHistory.password_hash).where(PasswordHistory.user_id == user.id)
        newest = before.order_by(PasswordHistory.replaced_at.desc()).limit(count)
        hashes = [user.password_hash, *await db.scalars(newest)][:count]
    password_policy.validate(password, names)
    # Always as many, and all of them: the time tells neither how many there were nor which it was.
    padded = [*hashes, *[None] * (count - len(hashes))]
    if any([await services.passwords.verify(password, old_hash) for old_hash in padded]):
        raise PasswordAlreadyUsed
    return await services.passwords.hash(password)


async def replace(
    db: AsyncSession, services: AuthServices, user: User, password_hash: str, *, keeping: UUID | None = None
) -> None:
    """Set a password, and end all sessions but `keeping`, and tokens that can change the account.

    The caller holds the person's row.
    """
    await set_hash(db, services, user, password_hash)
    await end_other_sessions(db, services, user, keeping)
    emails.request_email(db, services, EmailKind.PASSWORD_CHANGED, emails.Recipient.from_user(user))


async def remove(db: AsyncSession, services: AuthServices, user: User) -> None:
    """Remove a password and end all sessions; the user sets the next one by email.

    The caller holds the person's row, and tells them.
    """
    await set_hash(db, services, user, None)
    await end_other_sessions(db, services, user)


async def set_hash(db: AsyncSession, services: AuthServices, user: User, password_hash: str | None) -> None:
    """Replace the password hash, and keep the old one in the history."""
    if user.password_hash:
        db.add(PasswordHistory(user_id=user.id, password_hash=user.password_hash))
    user.password_hash = password_hash
    await db.flush()
    await trim_history(db, user, services.settings.auth_password_history_count)


async def end_other_sessions(
    db: AsyncSession, services: AuthServices, user: User, keeping: UUID | None = None
) -> None:
    """End the other sessions, and invalidate all tokens that can change the account."""
    others: list[ColumnElement[bool]] = [Session.id != keeping] if keeping else []
    await sessions.end(db, EndReason.ACCOUNT, Session.user_id == user.id, *others)
    await services.email_tokens.invalidate(db, user, EmailToken.purpose != Purpose.EMAIL_VERIFICATION)
    user.new_email = None


async def trim_history(db: AsyncSession, user: User, count: int) -> None:
    """Delete hashes that new passwords are no longer compared with."""
    own = select(PasswordHistory.id).where(PasswordHistory.user_id == user.id)
    newest = own.order_by(PasswordHistory.replaced_at.desc()).limit(max(count - 1, 0))
    older = (PasswordHistory.user_id == user.id, PasswordHistory.id.not_in(newest))
    await db.execute(delete(PasswordHistory).where(*older))

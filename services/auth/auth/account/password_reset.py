"""Setting a new password with a mail, when the old one is forgotten.

Nobody learns from an answer, or from its time, whether an address has an account. Nobody is signed in by it,
so it opens nothing that a second factor protects.
"""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, emails, users
from auth.account import password_check, passwords
from auth.email_address import key_of
from auth.errors import EmailTokenInvalid
from auth.events import MailKind
from auth.models import Purpose, Status, User
from auth.security.constant_time import at_least
from auth.services import Parts


async def forgot(parts: Parts, email: str) -> None:
    """Send the mail, if the address has an account that is in use and has not had too many."""
    async with at_least(parts.settings.answer_floor):
        if not await parts.rates.may("password/forgot", key_of(email)):
            return
        async with parts.database.begin() as db:
            user = await users.hold(db, email)
            if user and user.status is Status.ACTIVE:
                await send(db, parts, user)


async def send(
    db: AsyncSession, parts: Parts, user: User, *, actor: str | None = None, tenant_id: UUID | None = None
) -> None:
    """Send the mail to a person, whoever (`actor`) has asked for it; the link of the one before is void.

    The caller holds the person's row, and may ask for this person.
    """
    fresh = await parts.email_tokens.issue(db, user, Purpose.PASSWORD_RESET)
    emails.send(db, parts, MailKind.PASSWORD_RESET, emails.Recipient.of(user), fresh=fresh)
    audit.record(
        db, audit.Action.PASSWORD_RESET_REQUESTED, actor=actor, subject=user.subject, tenant_id=tenant_id
    )


async def reset(parts: Parts, token: str, password: str) -> None:
    """Set the password of who got the mail; a password that is refused leaves the token good.

    Raises EmailTokenInvalid, or as `new_password.fit` does.
    """
    async with parts.database.begin() as db:
        owner = await parts.email_tokens.owner(db, token, Purpose.PASSWORD_RESET)
    if owner is None:
        raise EmailTokenInvalid
    password_hash = await passwords.fit(parts, owner, password)
    async with parts.database.begin() as db:
        user = await redeemed(db, parts, token)
        users.confirm(user)
        await password_check.clear(db, parts, user)
        await passwords.replace(db, parts, user, password_hash)
        audit.record(db, audit.Action.PASSWORD_RESET, actor=user.subject)


async def redeemed(db: AsyncSession, parts: Parts, token: str) -> User:
    """Use a token up and hold the row of who got it; raises EmailTokenInvalid."""
    used = await parts.email_tokens.redeem(db, token, Purpose.PASSWORD_RESET)
    if used is None:
        raise EmailTokenInvalid
    user_id, email_key = used
    active = (User.id == user_id, User.email_key == email_key, User.status == Status.ACTIVE)
    user = await db.scalar(select(User).where(*active).with_for_update())
    if user is None:
        raise EmailTokenInvalid
    return user

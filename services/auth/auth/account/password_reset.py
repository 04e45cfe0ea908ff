"""Reset a forgotten password by email.

Neither a response nor its time reveals whether an address has an account. A reset does not sign the
user in, so it gives no access to what a second factor protects.
"""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, emails, users
from auth.account import password_check, passwords
from auth.email_address import canonical_email
from auth.errors import InvalidEmailToken
from auth.events import EmailKind
from auth.models import Purpose, Status, User
from auth.security.constant_time import minimum_duration
from auth.services import AuthServices


async def request_reset(services: AuthServices, email: str) -> None:
    """Request the email if the address has an active account and is within its rate limit."""
    async with minimum_duration(services.settings.answer_floor):
        if not await services.rates.try_acquire("password/forgot", canonical_email(email)):
            return
        async with services.database.begin() as db:
            user = await users.get_for_update(db, email)
            if user and user.status is Status.ACTIVE:
                await send_email(db, services, user)


async def send_email(
    db: AsyncSession,
    services: AuthServices,
    user: User,
    *,
    actor: str | None = None,
    tenant_id: UUID | None = None,
) -> None:
    """Request the email for a user on behalf of `actor`; the link of the previous one becomes invalid.

    The caller holds the person's row, and may ask for this person.
    """
    issued = await services.email_tokens.issue(db, user, Purpose.PASSWORD_RESET)
    emails.request_email(
        db, services, EmailKind.PASSWORD_RESET, emails.Recipient.from_user(user), issued=issued
    )
    audit.record(
        db, audit.Action.PASSWORD_RESET_REQUESTED, actor=actor, subject=user.subject, tenant_id=tenant_id
    )


async def reset(services: AuthServices, token: str, password: str) -> None:
    """Set the password of the token's owner; a rejected password does not consume the token.

    Raises InvalidEmailToken, or as `passwords.validate_new_password` does.
    """
    async with services.database.begin() as db:
        owner = await services.email_tokens.owner(db, token, Purpose.PASSWORD_RESET)
    if owner is None:
        raise InvalidEmailToken
    password_hash = await passwords.validate_new_password(services, owner, password)
    async with services.database.begin() as db:
        user = await redeem(db, services, token)
        users.mark_verified(user)
        await password_check.unlock(db, services, user)
        await passwords.replace(db, services, user, password_hash)
        audit.record(db, audit.Action.PASSWORD_RESET, actor=user.subject)


async def redeem(db: AsyncSession, services: AuthServices, token: str) -> User:
    """Consume a token and lock its owner's row; raises InvalidEmailToken."""
    used = await services.email_tokens.redeem(db, token, Purpose.PASSWORD_RESET)
    if used is None:
        raise InvalidEmailToken
    user_id, email_key = used
    active = (User.id == user_id, User.email_key == email_key, User.status == Status.ACTIVE)
    user = await db.scalar(select(User).where(*active).with_for_update())
    if user is None:
        raise InvalidEmailToken
    return user

"""Changes the email address of an account: the new one is confirmed first, the old one is notified."""

from servicekit.auth.tokens import Principal
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, emails, users
from auth.access import signup_policy
from auth.account.passwords import end_other_sessions
from auth.account.reauthentication import audit_actor, get_current_user, verify_password
from auth.account.schemas import EmailChange
from auth.email_address import canonical_email
from auth.errors import InvalidEmailToken
from auth.events import EmailKind
from auth.models import Purpose, Status, User
from auth.security.constant_time import minimum_duration
from auth.services import AuthServices


async def request_change(services: AuthServices, caller: Principal, request: EmailChange) -> None:
    """Request the verification of a new address; the response is the same whether it has an account.

    Raises EmailDomainNotAllowed, or as `reauthentication.verify_password` does.
    """
    signup_policy.require_allowed_domain(services, request.new_email)
    await verify_password(services, caller, request.password.get_secret_value())
    new_key = canonical_email(request.new_email)
    async with minimum_duration(services.settings.answer_floor):
        if not await services.rates.try_acquire_email(new_key):
            return
        async with services.database.begin() as db:
            user = await lock_user(db, (await get_current_user(db, caller)).id)
            if user and await is_free(db, request.new_email, user):
                user.new_email = request.new_email
                issued = await services.email_tokens.issue(db, user, Purpose.EMAIL_CHANGE, email_key=new_key)
                to = emails.Recipient(user.subject, request.new_email, user.display_name)
                emails.request_email(db, services, EmailKind.EMAIL_CHANGE, to, issued=issued)
                audit.record(db, audit.Action.EMAIL_CHANGE_REQUESTED, **audit_actor(caller))


async def confirm(services: AuthServices, token: str) -> None:
    """Change to the address that a token was sent to; all sessions end. Raises InvalidEmailToken.

    A token that has changed the address changes nothing more.
    """
    try:
        async with services.database.begin() as db:
            await apply(db, services, token)
    except InvalidEmailToken:
        async with services.database.begin() as db:
            if not await services.email_tokens.redeemed_by(db, token, Purpose.EMAIL_CHANGE):
                raise
    except IntegrityError:
        # Somebody else has taken it at the very same moment. Its message would quote the address.
        raise InvalidEmailToken from None


async def apply(db: AsyncSession, services: AuthServices, token: str) -> None:
    """Consume a token, and set its owner's address to the verified one; raises InvalidEmailToken."""
    user, new_email = await redeem(db, services, token)
    other = await users.get_for_update(db, new_email)
    if other and other.id != user.id and other.status is not Status.PENDING:
        raise InvalidEmailToken
    # What was never confirmed gives way.
    await users.delete_unverified(db, canonical_email(new_email))
    before = emails.Recipient.from_user(user)
    user.email, user.email_key = new_email, canonical_email(new_email)
    users.mark_verified(user)
    await end_other_sessions(db, services, user)
    emails.request_email(
        db, services, EmailKind.EMAIL_CHANGED, before, new_email_masked=mask_email(new_email)
    )
    audit.record(db, audit.Action.EMAIL_CHANGED, actor=user.subject)


async def redeem(db: AsyncSession, services: AuthServices, token: str) -> tuple[User, str]:
    """Consume a token; return its owner, locked, and the verified address; raises InvalidEmailToken."""
    used = await services.email_tokens.redeem(db, token, Purpose.EMAIL_CHANGE)
    user = await lock_user(db, used[0]) if used else None
    new_email = user.new_email if user else None
    if not used or not user or not new_email or canonical_email(new_email) != used[1]:
        raise InvalidEmailToken
    return user, new_email


async def lock_user(db: AsyncSession, user_id: object) -> User | None:
    """Lock and return an active account."""
    active = select(User).where(User.id == user_id, User.status == Status.ACTIVE)
    user: User | None = await db.scalar(active.with_for_update().execution_options(populate_existing=True))
    return user


async def is_free(db: AsyncSession, email: str, requested_by: User) -> bool:
    """Return whether a user may take an address: no other account has confirmed it."""
    other = await users.find(db, email)
    return other is None or other.id == requested_by.id or other.status is Status.PENDING


def mask_email(email: str) -> str:
    """Mask an email address."""
    local, _, domain = email.rpartition("@")
    return f"{local[0]}***@{domain}"

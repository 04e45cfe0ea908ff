"""Registration, and the verification email.

Neither a response nor its time reveals whether an address has an account (OWASP, ASVS 6.3.8). Its owner
learns it from the email.
"""

from datetime import UTC, datetime
from uuid import uuid4

from servicekit.events.outbox import publish
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, users
from auth.audit import Action
from auth.email_address import canonical_email
from auth.emails import request_tenant_email
from auth.events import EmailKind, UserRegistered
from auth.models import Purpose, Status, Tenant, User
from auth.registration import existing_account, join, signup_requests
from auth.schemas import Registration
from auth.security import password_policy
from auth.security.constant_time import minimum_duration
from auth.services import AuthServices

# Registrations of one address. Far more than mails go to it while a link is good, and few enough to be tried.
MAX_PENDING = 20


async def register(services: AuthServices, request: Registration) -> None:
    """Create an account unless the address has one, with a tenant of its own or in the one that invites.

    Raises as `password_policy.validate` and `signup_requests.require_signup_allowed` do, or InvalidInvite;
    also for an address with an account.
    """
    signup_requests.require_signup_allowed(services, request.email, invited=request.invite is not None)
    tenant_name = await join.resolve_tenant_name(services, request)
    password = request.password.get_secret_value()
    password_policy.validate(password, [request.email, tenant_name, request.display_name])
    async with minimum_duration(services.settings.answer_floor):
        # Also when it will not be needed: hashing is what takes time here.
        password_hash = await services.passwords.hash(password)
        if await services.rates.try_acquire_email(canonical_email(request.email)):
            async with services.database.begin() as db:
                await add(db, services, request, password_hash)


async def add(db: AsyncSession, services: AuthServices, request: Registration, password_hash: str) -> None:
    """Add an account with its tenant, and have the address confirmed; notify the account of the address."""
    if account := await find_account(db, request.email):
        await existing_account.notify(db, services, account)
        return
    user = new_user(request, password_hash, must_confirm=services.settings.require_email_verification)
    if await claim_email(db, user):
        tenant = await join.join_or_create(db, services, request, user)
        if tenant is not None:
            audit.record(db, Action.USER_CREATED, tenant_id=tenant.id, subject=user.subject)
            registered = UserRegistered(user_id=user.subject, tenant_id=tenant.id)
            publish(db, registered, tenant_id=tenant.id, subject=user.subject)
            await request_verification(db, services, user, tenant)


def new_user(request: Registration, password_hash: str, *, must_confirm: bool) -> User:
    """Create the user of a registration."""
    return User(
        id=uuid4(),
        email=request.email,
        email_key=canonical_email(request.email),
        display_name=request.display_name,
        password_hash=password_hash,
        status=Status.PENDING if must_confirm else Status.ACTIVE,
        terms_accepted_at=datetime.now(UTC) if request.accept_terms else None,
    )


async def find_account(db: AsyncSession, email: str) -> User | None:
    """Return the account of an address, locked; a registration to be confirmed is none."""
    user = await users.get_for_update(db, email)
    return user if user and user.status is not Status.PENDING else None


async def claim_email(db: AsyncSession, user: User) -> bool:
    """Add an account, or a registration to be confirmed; return whether no account was added meanwhile.

    Registrations of one address do not replace one another: none takes another's link, and whose password
    opens the account is decided where the address is confirmed (`email_verification`).
    """
    await remove_oldest_pending(db, user.email_key)
    return await users.add_user(db, user)


async def remove_oldest_pending(db: AsyncSession, email_key: str) -> None:
    """Remove the oldest registrations of an address that has too many waiting."""
    waiting = select(User.id).where(User.email_key == email_key, User.status == Status.PENDING)
    newest = waiting.order_by(User.created_at.desc(), User.id).limit(MAX_PENDING - 1)
    await users.delete_unverified(db, email_key, User.id.not_in(newest))


async def resend(services: AuthServices, email: str) -> None:
    """Send the verification email again if there is something to verify; notify another account."""
    async with minimum_duration(services.settings.answer_floor):
        if not await services.rates.try_acquire_email(canonical_email(email)):
            return
        async with services.database.begin() as db:
            user = await users.get_for_update(db, email)
            tenant = await users.first_tenant(db, user)
            in_use = user and user.status in {Status.PENDING, Status.ACTIVE}
            to_confirm = in_use and user and user.email_verified_at is None
            if user and tenant and to_confirm:
                await request_verification(db, services, user, tenant)
            elif user:
                await existing_account.notify(db, services, user)


async def request_verification(db: AsyncSession, services: AuthServices, user: User, tenant: Tenant) -> None:
    """Request the verification email."""
    issued = await services.email_tokens.issue(db, user, Purpose.EMAIL_VERIFICATION)
    request_tenant_email(db, services, EmailKind.EMAIL_VERIFICATION, user, tenant, issued=issued)

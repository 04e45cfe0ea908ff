"""Signing up, and confirming that an address is one's own.

Nobody learns from an answer, or from its time, whether an address has an account (OWASP, ASVS 6.3.8). The
owner learns it from the mail.
"""

from datetime import UTC, datetime
from uuid import uuid4

from servicekit.encryption import encrypt
from servicekit.events.outbox import publish
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, users
from auth.audit import Action
from auth.email_address import key_of
from auth.events import EmailVerificationRequested, MailToConfirm, UserRegistered, Verification
from auth.models import Purpose, Status, Tenant, User
from auth.registration import join, signup_requests
from auth.schemas import Registration
from auth.security import password_policy
from auth.security.constant_time import at_least
from auth.services import Parts

# Registrations of one address. Far more than mails go to it while a link is good, and few enough to be tried.
MOST_WAITING = 20


async def register(parts: Parts, wanted: Registration) -> None:
    """Make an account unless the address has one, with a tenant of its own or in the one that invites.

    Raises as password_policy and signups.admit do, or InvitationInvalid; also for an address with an account.
    """
    signup_requests.admit(parts, wanted.email, invited=wanted.invite is not None)
    tenant_name = await join.look(parts, wanted)
    password = wanted.password.get_secret_value()
    password_policy.check(password, [wanted.email, tenant_name, wanted.display_name])
    async with at_least(parts.settings.answer_floor):
        # Also when it will not be needed: hashing is what takes time here.
        password_hash = await parts.passwords.hash(password)
        if await parts.rates.may_mail(key_of(wanted.email)):
            async with parts.database.begin() as db:
                await add(db, parts, wanted, password_hash)


async def add(db: AsyncSession, parts: Parts, wanted: Registration, password_hash: str) -> None:
    """Add an account with its tenant, and have the address confirmed; nothing where the address has one."""
    user = new_user(wanted, password_hash, must_confirm=parts.settings.require_email_verification)
    if await take_address(db, user):
        tenant = await join.settle_in(db, parts, wanted, user)
        if tenant is not None:
            audit.record(db, Action.USER_CREATED, tenant_id=tenant.id, subject=user.subject)
            await ask_to_confirm(db, parts, user, tenant, UserRegistered)


def new_user(wanted: Registration, password_hash: str, *, must_confirm: bool) -> User:
    """Make the account that somebody asks for."""
    return User(
        id=uuid4(),
        email=wanted.email,
        email_key=key_of(wanted.email),
        display_name=wanted.display_name,
        password_hash=password_hash,
        status=Status.PENDING if must_confirm else Status.ACTIVE,
        terms_accepted_at=datetime.now(UTC) if wanted.accept_terms else None,
    )


async def take_address(db: AsyncSession, user: User) -> bool:
    """Add an account, or a registration to be confirmed; tells whether the address had no account.

    Registrations of one address do not replace one another: none takes another's link, and whose password
    opens the account is decided where the address is confirmed (`email_confirmation`).
    """
    before = await users.hold(db, user.email)
    if before and before.status is not Status.PENDING:
        return False
    await make_room(db, user.email_key)
    return await users.add_user(db, user)


async def make_room(db: AsyncSession, email_key: str) -> None:
    """Remove the oldest registrations of an address that has too many waiting."""
    waiting = select(User.id).where(User.email_key == email_key, User.status == Status.PENDING)
    newest = waiting.order_by(User.created_at.desc(), User.id).limit(MOST_WAITING - 1)
    await users.discard_pending(db, email_key, User.id.not_in(newest))


async def send_again(parts: Parts, email: str) -> None:
    """Send the confirming mail again, if there is something to confirm."""
    async with at_least(parts.settings.answer_floor):
        if not await parts.rates.may_mail(key_of(email)):
            return
        async with parts.database.begin() as db:
            user = await users.hold(db, email)
            tenant = await users.first_tenant(db, user)
            in_use = user and user.status in {Status.PENDING, Status.ACTIVE}
            to_confirm = in_use and user and user.email_verified_at is None
            if user and tenant and to_confirm:
                await ask_to_confirm(db, parts, user, tenant, EmailVerificationRequested)


async def ask_to_confirm(
    db: AsyncSession, parts: Parts, user: User, tenant: Tenant, kind: type[MailToConfirm]
) -> None:
    """Have the confirming mail sent, with a token that nobody on the way can read."""
    fresh = await parts.email_tokens.issue(db, user, Purpose.EMAIL_VERIFICATION)
    sealed = encrypt(parts.settings.event_sealing_key, fresh.token, context=user.subject)
    event = kind(
        user_id=user.subject,
        tenant_id=tenant.id,
        email=user.email,
        display_name=user.display_name,
        tenant_name=tenant.name,
        verification=Verification(token=sealed, expires_at=fresh.expires_at),
    )
    publish(db, event, tenant_id=tenant.id, subject=user.subject)

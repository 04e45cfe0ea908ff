"""Signing up, and confirming that an address is one's own.

Nobody learns from an answer, or from its time, whether an address has an account (OWASP, ASVS 6.3.8). The
owner learns it from the mail.
"""

from datetime import UTC, datetime
from uuid import uuid4

from servicekit.events import publish
from servicekit.sealing import seal
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import accounts, audit, password_policy
from auth.addresses import key_of
from auth.audit import Action
from auth.errors import EmailTokenInvalid
from auth.events import EmailVerificationRequested, MailToConfirm, UserRegistered, Verification
from auth.models import Purpose, Status, Tenant, User
from auth.parts import Parts
from auth.schemas import Registration
from auth.steady_pace import at_least
from auth.tenants import joining, signups

# Longer than any of the ways through the database takes, and short enough not to be noticed.
SAME_SECONDS = 0.05


async def register(parts: Parts, wanted: Registration) -> None:
    """Make an account unless the address has one, with a tenant of its own or in the one that invites.

    Raises as password_policy and signups.admit do, or InvitationInvalid; also for an address with an account.
    """
    signups.admit(parts, wanted.email, invited=wanted.invite is not None)
    tenant_name = await joining.look(parts, wanted)
    password = wanted.password.get_secret_value()
    password_policy.check(password, [wanted.email, tenant_name, wanted.display_name])
    # Also when it will not be needed: hashing is what takes time here.
    password_hash = await parts.passwords.hash(password)
    if not await parts.rates.may_mail(key_of(wanted.email)):
        return
    async with at_least(SAME_SECONDS), parts.database.begin() as db:
        user = new_user(wanted, password_hash, must_confirm=parts.settings.require_email_verification)
        if await take_address(db, user):
            tenant = await joining.settle_in(db, parts, wanted, user)
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
    """Add an account if its address is free; tells whether it was.

    What was never confirmed gives way: else anybody could keep an address from its owner, or wait with a
    password of their own for the owner to confirm it. An account that somebody may have entered never does.
    """
    before = await accounts.hold(db, user.email)
    if before and before.status is Status.PENDING:
        await accounts.discard(db, before)
    return await accounts.add_user(db, user)


async def send_again(parts: Parts, email: str) -> None:
    """Send the confirming mail again, if there is something to confirm."""
    if not await parts.rates.may_mail(key_of(email)):
        return
    async with at_least(SAME_SECONDS), parts.database.begin() as db:
        user = await accounts.hold(db, email)
        tenant = await accounts.first_tenant(db, user)
        in_use = user and user.status in {Status.PENDING, Status.ACTIVE}
        to_confirm = in_use and user and user.email_verified_at is None
        if user and tenant and to_confirm:
            await ask_to_confirm(db, parts, user, tenant, EmailVerificationRequested)


async def ask_to_confirm(
    db: AsyncSession, parts: Parts, user: User, tenant: Tenant, kind: type[MailToConfirm]
) -> None:
    """Have the confirming mail sent, with a token that nobody on the way can read."""
    fresh = await parts.email_tokens.issue(db, user, Purpose.EMAIL_VERIFICATION)
    sealed = seal(parts.settings.event_sealing_key, fresh.token, context=user.subject)
    event = kind(
        user_id=user.subject,
        tenant_id=tenant.id,
        email=user.email,
        display_name=user.display_name,
        tenant_name=tenant.name,
        verification=Verification(token=sealed, expires_at=fresh.expires_at),
    )
    publish(db, event, tenant_id=tenant.id, subject=user.subject)


async def verify(db: AsyncSession, parts: Parts, token: str) -> None:
    """Confirm the address that a mail's token was sent to; raises EmailTokenInvalid."""
    redeemed = await parts.email_tokens.redeem(db, token, Purpose.EMAIL_VERIFICATION)
    if redeemed is None:
        raise EmailTokenInvalid
    user_id, email_key = redeemed
    # An address that was changed meanwhile has not been confirmed by this.
    asked = select(User).where(User.id == user_id, User.email_key == email_key).with_for_update()
    user = await db.scalar(asked)
    if user is None or user.status not in {Status.PENDING, Status.ACTIVE}:
        raise EmailTokenInvalid
    accounts.confirm(user)
    tenant = await accounts.first_tenant(db, user)
    audit.record(db, Action.EMAIL_VERIFIED, tenant_id=tenant.id if tenant else None, subject=user.subject)

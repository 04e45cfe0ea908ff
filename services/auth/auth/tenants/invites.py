"""Invites, valid only as long as the inviter may still grant the role."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID, uuid4

from servicekit import pagination
from servicekit.auth.permissions import Role
from servicekit.auth.tokens import Principal
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, users
from auth.access.errors import RoleTooLow
from auth.access.roles import authorize, get_role, lock_tenant
from auth.access.sensitive_actions import SensitiveAction
from auth.audit import Action
from auth.email_address import canonical_email
from auth.emails import Recipient, request_email
from auth.events import EmailKind
from auth.models import Invite, Membership, Tenant, TenantStatus, User
from auth.security import invite_tokens
from auth.security.one_time_tokens import IssuedToken
from auth.services import AuthServices
from auth.tenants import schemas
from auth.tenants.errors import (
    AlreadyMember,
    InvalidInvite,
    InviteDomainNotAllowed,
    InviteEmailMissing,
    InviteExpired,
    InviteNotFound,
)

InviteStatus = Literal["pending", "used", "revoked", "expired"]


async def create(
    db: AsyncSession, services: AuthServices, caller: Principal, request: schemas.NewInvite
) -> schemas.CreatedInvite:
    """Invite one email, or whoever has the link; raises RoleTooLow, InviteDomainNotAllowed or RateLimited."""
    await check_rate_limits(services, caller, canonical_email(request.email) if request.email else None)
    tenant, own = await authorize(db, caller, SensitiveAction.CREATE_INVITE)
    if request.role > own:
        raise RoleTooLow
    if request.email and not is_domain_allowed(tenant, canonical_email(request.email)):
        raise InviteDomainNotAllowed
    hours = request.expires_in_hours or services.settings.auth_invite_ttl_hours
    invite, token = new_invite(services, request.email, hours, request.max_uses)
    invite.tenant_id, invite.role, invite.invited_by = tenant.id, request.role, users.user_id_of(caller)
    db.add(invite)
    record_audit(db, Action.INVITE_CREATED, caller, invite)
    if invite.email is not None:
        await send_email(db, services, caller, tenant, invite=invite, token=token)
    visible = token if invite.email is None else None
    return schemas.CreatedInvite(id=invite.id, expires_at=invite.expires_at, token=visible)


async def check_rate_limits(services: AuthServices, caller: Principal, email_key: str | None) -> None:
    """Count an invite of a tenant and an email to an address, without locks; raises RateLimited."""
    await services.rates.check_subject("invites", str(caller.tenant_id))
    if email_key:
        await services.rates.check_subject("invites/mail", email_key)


def new_invite(
    services: AuthServices, email: str | None, hours: int, max_uses: int = 1
) -> tuple[Invite, str]:
    """Create an invite and its token, without a tenant yet."""
    invite = Invite(
        id=uuid4(),
        email=email,
        email_key=canonical_email(email) if email else None,
        max_uses=max_uses,
        uses=0,
        expires_at=datetime.now(UTC) + timedelta(hours=hours),
    )
    return invite, invite_tokens.issue(services.settings.mail_peppers, invite)


async def send_email(  # noqa: PLR0913  # the parts of a mail
    db: AsyncSession, services: AuthServices, caller: Principal, tenant: Tenant, *, invite: Invite, token: str
) -> None:
    """Send an invite to its address."""
    assert invite.email is not None and invite.email_key is not None and invite.role is not None  # noqa: S101, PT018
    inviter = await db.get_one(User, users.user_id_of(caller))
    request_email(
        db,
        services,
        EmailKind.INVITATION,
        await recipient(db, invite.email, invite.email_key),
        tenant_id=tenant.id,
        issued=IssuedToken(token, invite.expires_at),
        tenant_name=tenant.name,
        role=invite.role.value,
        invited_by=inviter.display_name or inviter.email,
    )


async def recipient(db: AsyncSession, email: str, email_key: str) -> Recipient:
    """Return the account of an address as recipient, or else the address."""
    user = await users.find(db, email)
    return Recipient.from_user(user) if user else Recipient(f"mail:{email_key}", email)


def is_domain_allowed(tenant: Tenant, email_key: str) -> bool:
    """Return whether a tenant's settings allow an address."""
    return not tenant.invite_domains or email_key.rpartition("@")[2] in tenant.invite_domains


async def list_invites(
    db: AsyncSession, caller: Principal, limit: int, cursor: str | None
) -> tuple[list[schemas.Invite], str | None]:
    """List the invites of the caller's tenant, newest first."""
    query = (
        select(Invite, User)
        .outerjoin(User, User.id == Invite.invited_by)
        .where(Invite.tenant_id == caller.tenant_id)
    )
    page = pagination.paginate(query, Invite.created_at, Invite.id, limit, cursor, newest_first=True)
    rows: Sequence[tuple[Invite, User | None]] = [(row[0], row[1]) for row in await db.execute(page)]
    following = pagination.next_cursor([invite for invite, _ in rows], limit, "created_at", "id")
    return [to_schema(invite, inviter) for invite, inviter in rows[:limit]], following


async def revoke(db: AsyncSession, caller: Principal, invite_id: UUID) -> None:
    """Revoke an invite of the caller's tenant; one that is used or expired stays so."""
    tenant, own = await authorize(db, caller, SensitiveAction.REVOKE_INVITE)
    invite = await find(db, tenant, invite_id, own)
    if invite.revoked_at is None:
        invite.revoked_at = datetime.now(UTC)
        record_audit(db, Action.INVITE_REVOKED, caller, invite)


async def resend(db: AsyncSession, services: AuthServices, caller: Principal, invite_id: UUID) -> None:
    """Send an invite again with a new link; the caller becomes its inviter."""
    async with services.database.begin() as before:
        mine = (Invite.tenant_id == caller.tenant_id, Invite.id == invite_id)
        email_key = await before.scalar(select(Invite.email_key).where(*mine))
    await check_rate_limits(services, caller, email_key)
    tenant, own = await authorize(db, caller, SensitiveAction.RESEND_INVITE)
    invite = await find(db, tenant, invite_id, own)
    if invite.email is None:
        raise InviteEmailMissing
    if status_of(invite) != "pending":
        raise InviteExpired
    token = invite_tokens.issue(services.settings.mail_peppers, invite)
    invite.invited_by = users.user_id_of(caller)
    record_audit(db, Action.INVITE_RESENT, caller, invite)
    await send_email(db, services, caller, tenant, invite=invite, token=token)


def record_audit(db: AsyncSession, action: Action, caller: Principal, invite: Invite) -> None:
    """Audit a change of a tenant's invite."""
    audit.record(
        db,
        action,
        tenant_id=invite.tenant_id,
        actor=caller.subject,
        invite=str(invite.id),
        role=invite.role.value if invite.role else None,
    )


async def find(db: AsyncSession, tenant: Tenant, invite_id: UUID, own: Role) -> Invite:
    """Lock and return an invite that the role may manage; raises InviteNotFound or RoleTooLow."""
    invite: Invite | None = await db.scalar(
        select(Invite).where(Invite.tenant_id == tenant.id, Invite.id == invite_id).with_for_update()
    )
    if invite is None or invite.role is None:
        raise InviteNotFound
    if invite.role > own:
        raise RoleTooLow
    return invite


async def accept(db: AsyncSession, services: AuthServices, caller: Principal, token: str) -> schemas.Joined:
    """Add the caller to the tenant of an invite; raises InvalidInvite or AlreadyMember.

    Whoever has joined by an invite that is used up is told so, and not that it is invalid.
    """
    await users.lock_user(db, users.user_id_of(caller))
    user = await users.current_user(db, caller)
    try:
        invite = await redeem(db, services, token, user.email_key)
    except InvalidInvite:
        if await is_member_by(db, services, token, user):
            raise AlreadyMember from None
        raise
    if invite.tenant_id is None or invite.role is None:
        # Good for signing up alone; the transaction gives the use back.
        raise InvalidInvite
    tenant = await db.get_one(Tenant, invite.tenant_id)
    if await get_role(db, tenant.id, user.id):
        raise AlreadyMember
    join(db, invite, user)
    return schemas.Joined(tenant_id=tenant.id, tenant_name=tenant.name, role=invite.role)


async def is_member_by(db: AsyncSession, services: AuthServices, token: str, user: User) -> bool:
    """Return whether a token is of an invite for a user to a tenant that they belong to."""
    invite = await db.scalar(select(Invite).where(Invite.id == invite_tokens.parse_id(token)))
    if invite is None or invite.tenant_id is None or invite.email_key not in {None, user.email_key}:
        return False
    if not invite_tokens.matches(services.settings.mail_peppers, invite, token):
        return False
    return await get_role(db, invite.tenant_id, user.id) is not None


def join(db: AsyncSession, invite: Invite, user: User) -> None:
    """Add a user to the tenant of a redeemed invite."""
    db.add(Membership(tenant_id=invite.tenant_id, user_id=user.id, role=invite.role))
    audit.record(
        db,
        Action.INVITE_ACCEPTED,
        tenant_id=invite.tenant_id,
        actor=user.subject,
        invite=str(invite.id),
        invited_by=f"user:{invite.invited_by}",
        role=invite.role.value if invite.role else None,
    )


async def redeem(db: AsyncSession, services: AuthServices, token: str, email_key: str) -> Invite:
    """Use an invite once for an address, with its tenant locked. Raises InvalidInvite for every reason."""
    invite = await get_valid(db, services, token, email_key)
    invite.uses += 1
    return invite


async def get_valid(db: AsyncSession, services: AuthServices, token: str, email_key: str) -> Invite:
    """Lock and return the invite of a token if it is valid for an address; raises InvalidInvite."""
    invite_id = invite_tokens.parse_id(token)
    tenant_id = await db.scalar(select(Invite.tenant_id).where(Invite.id == invite_id))
    # The tenant before the invite, in the order of everybody else who takes both.
    tenant = await lock_tenant(db, tenant_id) if tenant_id else None
    invite = await db.scalar(
        select(Invite)
        .where(Invite.id == invite_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    peppers = services.settings.mail_peppers
    if invite is None or not invite_tokens.matches(peppers, invite, token) or status_of(invite) != "pending":
        raise InvalidInvite
    if invite.email_key not in {None, email_key}:
        raise InvalidInvite
    if invite.tenant_id and not await is_still_authorized(db, invite, tenant, email_key):
        raise InvalidInvite
    return invite


async def is_still_authorized(
    db: AsyncSession, invite: Invite, tenant: Tenant | None, email_key: str
) -> bool:
    """Return whether the tenant and the inviter may still invite this address with this role."""
    if tenant is None or tenant.status is not TenantStatus.ACTIVE or not is_domain_allowed(tenant, email_key):
        return False
    role = await get_role(db, tenant.id, invite.invited_by)
    return role is not None and invite.role is not None and role >= max(invite.role, Role.ADMIN)


def status_of(invite: Invite) -> InviteStatus:
    """Return the status of an invite."""
    if invite.revoked_at:
        return "revoked"
    if invite.uses >= invite.max_uses:
        return "used"
    return "expired" if invite.expires_at <= datetime.now(UTC) else "pending"


def to_schema(invite: Invite, inviter: User | None) -> schemas.Invite:
    """Return the schema of an invite."""
    assert invite.role is not None  # noqa: S101  # of a tenant, which needs one
    by = inviter and schemas.Inviter(
        user_id=inviter.subject, display_name=inviter.display_name, email=inviter.email
    )
    return schemas.Invite(
        id=invite.id,
        email=invite.email,
        role=invite.role,
        status=status_of(invite),
        max_uses=invite.max_uses,
        uses=invite.uses,
        invited_by=by,
        created_at=invite.created_at,
        expires_at=invite.expires_at,
    )

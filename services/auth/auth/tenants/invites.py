"""Invites: made by members, good only as long as who made them might still let somebody in as that."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID, uuid4

from servicekit.auth.permissions import Role
from servicekit.auth.tokens import Principal
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, pagination, users
from auth.access.errors import RoleTooLow
from auth.access.roles import authorize, hold, role_of
from auth.access.sensitive_actions import SensitiveAction
from auth.audit import Action
from auth.email_address import key_of
from auth.emails import Recipient, send
from auth.events import MailKind
from auth.models import Invite, Membership, Tenant, TenantStatus, User
from auth.security import invite_tokens
from auth.security.one_time_tokens import Fresh
from auth.services import Parts
from auth.tenants import schemas
from auth.tenants.errors import (
    AlreadyMember,
    DomainNotAllowed,
    InvitationInvalid,
    InviteNotMailed,
    InviteOver,
    InviteUnknown,
)

State = Literal["pending", "used", "revoked", "expired"]


async def create(
    db: AsyncSession, parts: Parts, caller: Principal, wanted: schemas.NewInvite
) -> schemas.MadeInvite:
    """Invite an address, or whoever has the link; raises RoleTooLow, DomainNotAllowed or RateLimited."""
    await count(parts, caller, key_of(wanted.email) if wanted.email else None)
    tenant, own = await authorize(db, caller, SensitiveAction.CREATE_INVITE)
    if wanted.role > own:
        raise RoleTooLow
    if wanted.email and not may_be_invited(tenant, key_of(wanted.email)):
        raise DomainNotAllowed
    hours = wanted.expires_in_hours or parts.settings.auth_invite_ttl_hours
    invite, token = make(parts, wanted.email, hours, wanted.max_uses)
    invite.tenant_id, invite.role, invite.invited_by = tenant.id, wanted.role, users.person(caller)
    db.add(invite)
    note(db, Action.INVITE_CREATED, caller, invite)
    if invite.email is None:
        return schemas.MadeInvite(id=invite.id, expires_at=invite.expires_at, token=token)
    await mail(db, parts, caller, tenant, invite=invite, token=token)
    return schemas.MadeInvite(id=invite.id, expires_at=invite.expires_at, token=None)


async def count(parts: Parts, caller: Principal, email_key: str | None) -> None:
    """Count an invite of a tenant, and a mail to a mailbox, while nothing is held; raises RateLimited."""
    await parts.rates.of_subject("invites", str(caller.tenant_id))
    if email_key:
        await parts.rates.of_subject("invites/mail", email_key)


def make(parts: Parts, email: str | None, hours: int, max_uses: int = 1) -> tuple[Invite, str]:
    """Make an invite and its token, as yet to nowhere."""
    invite = Invite(
        id=uuid4(),
        email=email,
        email_key=key_of(email) if email else None,
        max_uses=max_uses,
        uses=0,
        expires_at=datetime.now(UTC) + timedelta(hours=hours),
    )
    return invite, invite_tokens.renew(parts.settings.mail_peppers, invite)


async def mail(  # noqa: PLR0913  # the parts of a mail
    db: AsyncSession, parts: Parts, caller: Principal, tenant: Tenant, *, invite: Invite, token: str
) -> None:
    """Send an invite to its address."""
    assert invite.email is not None and invite.email_key is not None and invite.role is not None  # noqa: S101, PT018
    inviter = await db.get_one(User, users.person(caller))
    send(
        db,
        parts,
        MailKind.INVITATION,
        await recipient(db, invite.email, invite.email_key),
        tenant_id=tenant.id,
        fresh=Fresh(token, invite.expires_at),
        tenant_name=tenant.name,
        role=invite.role.value,
        invited_by=inviter.display_name or inviter.email,
    )


async def recipient(db: AsyncSession, email: str, email_key: str) -> Recipient:
    """Write to the account of an address at its own spelling, or to the address where it has none."""
    user = await users.find(db, email)
    return Recipient.of(user) if user else Recipient(f"mail:{email_key}", email)


def may_be_invited(tenant: Tenant, email_key: str) -> bool:
    """Tell whether a tenant's settings allow an address."""
    return not tenant.invite_domains or email_key.rpartition("@")[2] in tenant.invite_domains


async def of_tenant(
    db: AsyncSession, caller: Principal, limit: int, cursor: str | None
) -> tuple[list[schemas.Invite], str | None]:
    """List the invites of the caller's tenant, newest first."""
    asked = (
        select(Invite, User)
        .outerjoin(User, User.id == Invite.invited_by)
        .where(Invite.tenant_id == caller.tenant_id)
    )
    listed = pagination.page_of(asked, Invite.created_at, Invite.id, limit, cursor, newest_first=True)
    rows: Sequence[tuple[Invite, User | None]] = [(row[0], row[1]) for row in await db.execute(listed)]
    places = [(invite.created_at, invite.id) for invite, _ in rows]
    return [shown(invite, inviter) for invite, inviter in rows[:limit]], pagination.after(places, limit)


async def revoke(db: AsyncSession, caller: Principal, invite_id: UUID) -> None:
    """Make an invite of the caller's tenant void; one that is over stays so."""
    tenant, own = await authorize(db, caller, SensitiveAction.REVOKE_INVITE)
    invite = await find(db, tenant, invite_id, own)
    if invite.revoked_at is None:
        invite.revoked_at = datetime.now(UTC)
        note(db, Action.INVITE_REVOKED, caller, invite)


async def resend(db: AsyncSession, parts: Parts, caller: Principal, invite_id: UUID) -> None:
    """Send an invite again; the link of the mail before is void. From now on the caller stands for it."""
    async with parts.database.begin() as before:
        mine = (Invite.tenant_id == caller.tenant_id, Invite.id == invite_id)
        email_key = await before.scalar(select(Invite.email_key).where(*mine))
    await count(parts, caller, email_key)
    tenant, own = await authorize(db, caller, SensitiveAction.RESEND_INVITE)
    invite = await find(db, tenant, invite_id, own)
    if invite.email is None:
        raise InviteNotMailed
    if state(invite) != "pending":
        raise InviteOver
    token = invite_tokens.renew(parts.settings.mail_peppers, invite)
    invite.invited_by = users.person(caller)
    note(db, Action.INVITE_RESENT, caller, invite)
    await mail(db, parts, caller, tenant, invite=invite, token=token)


def note(db: AsyncSession, action: Action, caller: Principal, invite: Invite) -> None:
    """Write into the audit log what became of a tenant's invite."""
    audit.record(
        db,
        action,
        tenant_id=invite.tenant_id,
        actor=caller.subject,
        invite=str(invite.id),
        role=invite.role.value if invite.role else None,
    )


async def find(db: AsyncSession, tenant: Tenant, invite_id: UUID, own: Role) -> Invite:
    """Give an invite of a tenant that one may touch; raises InviteUnknown or RoleTooLow."""
    invite: Invite | None = await db.scalar(
        select(Invite).where(Invite.tenant_id == tenant.id, Invite.id == invite_id).with_for_update()
    )
    if invite is None or invite.role is None:
        raise InviteUnknown
    if invite.role > own:
        raise RoleTooLow
    return invite


async def accept(db: AsyncSession, parts: Parts, caller: Principal, token: str) -> schemas.Joined:
    """Let the caller into the tenant of an invite; raises InvitationInvalid or AlreadyMember."""
    await users.hold_person(db, users.person(caller))
    user = await users.myself(db, caller)
    invite = await redeem(db, parts, token, user.email_key)
    if invite.tenant_id is None or invite.role is None:
        # Good for signing up alone; the transaction gives the use back.
        raise InvitationInvalid
    tenant = await db.get_one(Tenant, invite.tenant_id)
    if await role_of(db, tenant.id, user.id):
        raise AlreadyMember
    join(db, invite, user)
    return schemas.Joined(tenant_id=tenant.id, tenant_name=tenant.name, role=invite.role)


def join(db: AsyncSession, invite: Invite, user: User) -> None:
    """Let somebody into the tenant of a redeemed invite."""
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


async def redeem(db: AsyncSession, parts: Parts, token: str, email_key: str) -> Invite:
    """Use an invite once for an address; its tenant is held. Raises InvitationInvalid for every reason."""
    invite = await valid(db, parts, token, email_key)
    invite.uses += 1
    return invite


async def valid(db: AsyncSession, parts: Parts, token: str, email_key: str) -> Invite:
    """Give the invite of a token, held, if it is good for an address now; raises InvitationInvalid."""
    invite_id = invite_tokens.id_in(token)
    tenant_id = await db.scalar(select(Invite.tenant_id).where(Invite.id == invite_id))
    # The tenant before the invite, in the order of everybody else who takes both.
    tenant = await hold(db, tenant_id) if tenant_id else None
    invite = await db.scalar(
        select(Invite)
        .where(Invite.id == invite_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    peppers = parts.settings.mail_peppers
    if invite is None or not invite_tokens.opens(peppers, invite, token) or state(invite) != "pending":
        raise InvitationInvalid
    if invite.email_key not in {None, email_key}:
        raise InvitationInvalid
    if invite.tenant_id and not await stands(db, invite, tenant, email_key):
        raise InvitationInvalid
    return invite


async def stands(db: AsyncSession, invite: Invite, tenant: Tenant | None, email_key: str) -> bool:
    """Tell whether the tenant, and who invited in its name, would still let this address in as that."""
    if tenant is None or tenant.status is not TenantStatus.ACTIVE or not may_be_invited(tenant, email_key):
        return False
    role = await role_of(db, tenant.id, invite.invited_by)
    return role is not None and invite.role is not None and role >= max(invite.role, Role.ADMIN)


def state(invite: Invite) -> State:
    """Tell what has become of an invite."""
    if invite.revoked_at:
        return "revoked"
    if invite.uses >= invite.max_uses:
        return "used"
    return "expired" if invite.expires_at <= datetime.now(UTC) else "pending"


def shown(invite: Invite, inviter: User | None) -> schemas.Invite:
    """Show an invite."""
    assert invite.role is not None  # noqa: S101  # of a tenant, which needs one
    by = inviter and schemas.Inviter(
        user_id=inviter.subject, display_name=inviter.display_name, email=inviter.email
    )
    return schemas.Invite(
        id=invite.id,
        email=invite.email,
        role=invite.role,
        status=state(invite),
        max_uses=invite.max_uses,
        uses=invite.uses,
        invited_by=by,
        created_at=invite.created_at,
        expires_at=invite.expires_at,
    )

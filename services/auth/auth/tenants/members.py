"""The members of a tenant and their roles. A tenant is never without an owner."""

from uuid import UUID

from servicekit import pagination
from servicekit.auth.permissions import Role
from servicekit.auth.tokens import Principal
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, users
from auth.access.errors import RoleTooLow
from auth.access.roles import authorize
from auth.access.sensitive_actions import SensitiveAction
from auth.account import password_reset
from auth.api_keys import orphaned
from auth.audit import Action
from auth.emails import request_tenant_email
from auth.events import EmailKind
from auth.models import EndReason, Invite, Membership, Session, Status, Tenant, User
from auth.services import AuthServices
from auth.sessions import sessions
from auth.tenants import schemas
from auth.tenants.errors import LastOwner, MemberNotFound


async def list_members(
    db: AsyncSession, caller: Principal, limit: int, cursor: str | None
) -> tuple[list[schemas.Member], str | None]:
    """List the members of the caller's tenant, who joined first at the top.

    Pending registrations are not listed.
    """
    query = (
        select(User, Membership)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.tenant_id == caller.tenant_id, User.status != Status.PENDING)
    )
    rows = (await db.execute(pagination.paginate(query, Membership.created_at, User.id, limit, cursor))).all()
    memberships = [membership for _, membership in rows]
    following = pagination.next_cursor(memberships, limit, "created_at", "user_id")
    return [to_schema(user, membership) for user, membership in rows[:limit]], following


async def change_role(
    db: AsyncSession, services: AuthServices, caller: Principal, user_id: UUID, role: Role
) -> schemas.Member:
    """Change a member's role, from their next refresh on; raises RoleTooLow or LastOwner."""
    tenant, own = await authorize(db, caller, SensitiveAction.CHANGE_ROLE)
    user, membership = await find(db, tenant, user_id)
    if max(membership.role, role) > own:
        raise RoleTooLow
    if membership.role is not role:
        await set_role(db, membership, role, actor=caller.subject)
        await orphaned.report_orphaned(db, tenant, user.id, role)
        request_tenant_email(db, services, EmailKind.ROLE_CHANGED, user, tenant, role=role.value)
    return to_schema(user, membership)


async def set_role(db: AsyncSession, membership: Membership, role: Role, *, actor: str) -> None:
    """Change a role, and end what the previous one permitted; raises LastOwner."""
    if role is not Role.OWNER:
        await require_other_owner(db, membership)
    before, membership.role = membership.role, role
    await revoke_invites(db, membership, up_to=role if role >= Role.ADMIN else None)
    audit.record(
        db,
        Action.ROLE_CHANGED,
        tenant_id=membership.tenant_id,
        actor=actor,
        subject=f"user:{membership.user_id}",
        before=before.value,
        after=role.value,
    )


async def remove(db: AsyncSession, services: AuthServices, caller: Principal, user_id: UUID) -> None:
    """Remove a member from the caller's tenant; raises RoleTooLow or LastOwner."""
    tenant, user, membership = await get_manageable_member(db, caller, user_id, SensitiveAction.REMOVE_MEMBER)
    await end_membership(db, caller, tenant, membership)
    request_tenant_email(db, services, EmailKind.MEMBER_REMOVED, user, tenant)


async def leave(db: AsyncSession, caller: Principal) -> None:
    """Remove the caller from their tenant; raises LastOwner."""
    tenant, _ = await authorize(db, caller, SensitiveAction.LEAVE_TENANT)
    _, membership = await find(db, tenant, users.user_id_of(caller))
    await end_membership(db, caller, tenant, membership)


async def end_membership(db: AsyncSession, caller: Principal, tenant: Tenant, membership: Membership) -> None:
    """End a membership with its sessions, invites and API keys; raises LastOwner."""
    await require_other_owner(db, membership)
    tenant_id, user_id = membership.tenant_id, membership.user_id
    await revoke_invites(db, membership, up_to=None)
    await sessions.end(db, EndReason.MEMBERSHIP, Session.tenant_id == tenant_id, Session.user_id == user_id)
    await db.delete(membership)
    await db.flush()
    await orphaned.report_orphaned(db, tenant, user_id, None)
    audit.record(
        db, Action.MEMBER_REMOVED, tenant_id=tenant_id, actor=caller.subject, subject=f"user:{user_id}"
    )


async def transfer(db: AsyncSession, services: AuthServices, caller: Principal, user_id: UUID) -> None:
    """Make another member the owner, and the caller an admin; raises MemberNotFound or RoleTooLow."""
    tenant, _ = await authorize(db, caller, SensitiveAction.TRANSFER_OWNERSHIP)
    user, membership = await find(db, tenant, user_id)
    giver, own = await find(db, tenant, users.user_id_of(caller))
    if user.id == giver.id:
        return
    if user.status is not Status.ACTIVE:
        raise MemberNotFound
    await set_role(db, membership, Role.OWNER, actor=caller.subject)
    await db.flush()
    await set_role(db, own, Role.ADMIN, actor=caller.subject)
    new_owner = user.display_name or user.email
    for one in (user, giver):
        request_tenant_email(db, services, EmailKind.OWNERSHIP_TRANSFERRED, one, tenant, new_owner=new_owner)


async def find(db: AsyncSession, tenant: Tenant, user_id: UUID) -> tuple[User, Membership]:
    """Return a member of a tenant; raises MemberNotFound."""
    query = (
        select(User, Membership)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.tenant_id == tenant.id, User.id == user_id, User.status != Status.PENDING)
    )
    row = (await db.execute(query)).one_or_none()
    if row is None:
        raise MemberNotFound
    return row.User, row.Membership


async def send_password_reset(services: AuthServices, caller: Principal, user_id: UUID) -> None:
    """Send a member the password reset email; raises MemberNotFound or RoleTooLow."""
    action = SensitiveAction.SEND_PASSWORD_RESET
    async with services.database.begin() as db:
        _, user, _ = await get_manageable_member(db, caller, user_id, action)
    # Counted while nobody is held.
    if not await services.rates.try_acquire("password/forgot", user.email_key):
        return
    async with services.database.begin() as db:
        tenant, user, _ = await get_manageable_member(db, caller, user_id, action)
        await password_reset.send_email(db, services, user, actor=caller.subject, tenant_id=tenant.id)


async def end_sessions(db: AsyncSession, caller: Principal, user_id: UUID) -> None:
    """End a member's sessions in the caller's tenant; raises MemberNotFound or RoleTooLow."""
    tenant, user, _ = await get_manageable_member(db, caller, user_id, SensitiveAction.END_MEMBER_SESSIONS)
    theirs = (Session.tenant_id == tenant.id, Session.user_id == user.id)
    await sessions.end(db, EndReason.REVOKED, *theirs, actor=caller.subject)


async def get_manageable_member(
    db: AsyncSession, caller: Principal, user_id: UUID, action: SensitiveAction
) -> tuple[Tenant, User, Membership]:
    """Lock the tenant and return a member whom the caller may manage; raises MemberNotFound or RoleTooLow."""
    await users.lock_user(db, user_id)
    tenant, own = await authorize(db, caller, action)
    user, membership = await find(db, tenant, user_id)
    if membership.role > own:
        raise RoleTooLow
    return tenant, user, membership


async def require_other_owner(db: AsyncSession, membership: Membership) -> None:
    """Require another active owner in the locked tenant; raises LastOwner."""
    if membership.role is not Role.OWNER:
        return
    others = (
        select(func.count())
        .select_from(Membership)
        .join(User)
        .where(
            Membership.tenant_id == membership.tenant_id,
            Membership.user_id != membership.user_id,
            Membership.role == Role.OWNER,
            # One who cannot come in would be no help.
            User.status == Status.ACTIVE,
        )
    )
    if not await db.scalar(others):
        raise LastOwner


async def revoke_invites(db: AsyncSession, membership: Membership, up_to: Role | None) -> None:
    """Revoke the invites of a user, except those that they may still grant."""
    of_theirs = (
        Invite.tenant_id == membership.tenant_id,
        Invite.invited_by == membership.user_id,
        Invite.revoked_at.is_(None),
    )
    above = [role for role in Role if up_to is None or role > up_to]
    await db.execute(update(Invite).where(*of_theirs, Invite.role.in_(above)).values(revoked_at=func.now()))


def to_schema(user: User, membership: Membership) -> schemas.Member:
    """Return the schema of a member."""
    return schemas.Member(
        user_id=user.subject,
        display_name=user.display_name,
        email=user.email,
        role=membership.role,
        joined_at=membership.created_at,
    )

"""The life cycle of a tenant: create, rename, suspend, reactivate, delete, and purge."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from servicekit import pagination
from servicekit.auth.permissions import Role
from servicekit.auth.tokens import Principal
from servicekit.events.outbox import publish
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, users
from auth.access.errors import TenantNotFound
from auth.access.roles import authorize, get_role, lock_tenant, require_role
from auth.access.sensitive_actions import SensitiveAction
from auth.audit import Action
from auth.emails import notify_owners
from auth.events import EmailKind, TenantDeleted, TenantReactivated, TenantSuspended
from auth.models import EndReason, Invite, Membership, Session, SignupRequest, Tenant, TenantStatus
from auth.security.revocation import RevocationKind, revoke
from auth.services import AuthServices
from auth.sessions import sessions
from auth.tenants import schemas
from auth.tenants.errors import SlugAlreadyExists, TenantNotActive, TenantSuspendedByOperator

OPERATOR = "operator"
# So long one can see who was invited, and who asked for access.
RETENTION = timedelta(days=90)


async def create(db: AsyncSession, services: AuthServices, caller: Principal, name: str) -> schemas.OwnTenant:
    """Create a tenant that the caller owns; raises RateLimited."""
    await services.rates.check_subject("tenants", caller.subject)
    user = await users.current_user(db, caller)
    tenant = await users.add_owned(db, user.id, name)
    audit.record(db, Action.TENANT_CREATED, tenant_id=tenant.id, actor=caller.subject)
    return to_schema(tenant, Role.OWNER)


async def list_own(
    db: AsyncSession, caller: Principal, limit: int, cursor: str | None
) -> tuple[list[schemas.OwnTenant], str | None]:
    """List the tenants that the caller belongs to, the one joined first at the top."""
    query = (
        select(Tenant, Membership)
        .join(Membership, Membership.tenant_id == Tenant.id)
        .where(Membership.user_id == users.user_id_of(caller), Tenant.status != TenantStatus.DELETED)
    )
    rows = (
        await db.execute(pagination.paginate(query, Membership.created_at, Tenant.id, limit, cursor))
    ).all()
    items = [to_schema(tenant, membership.role) for tenant, membership in rows[:limit]]
    memberships = [membership for _, membership in rows]
    return items, pagination.next_cursor(memberships, limit, "created_at", "tenant_id")


async def current(db: AsyncSession, caller: Principal) -> schemas.OwnTenant:
    """Return the caller's tenant."""
    return to_schema(*await require_role(db, caller, Role.VIEWER))


async def change(db: AsyncSession, caller: Principal, request: schemas.TenantChange) -> schemas.OwnTenant:
    """Rename the caller's tenant, or change its slug; raises SlugAlreadyExists."""
    tenant, role = await require_role(db, caller, Role.ADMIN)
    if request.slug and request.slug != tenant.slug:
        await change_slug(db, tenant, request.slug)
    tenant.name = request.name or tenant.name
    audit.record(db, Action.TENANT_CHANGED, tenant_id=tenant.id, actor=caller.subject)
    return to_schema(tenant, role)


async def change_slug(db: AsyncSession, tenant: Tenant, slug: str) -> None:
    """Change a tenant's slug; raises SlugAlreadyExists."""
    # Two who want it at once wait for each other here: the unique index's error would quote it into the logs.
    await db.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"slug {slug}"))))
    if await db.scalar(select(Tenant.id).where(Tenant.slug == slug)):
        raise SlugAlreadyExists
    tenant.slug = slug
    await db.flush()


async def suspend_own(db: AsyncSession, caller: Principal) -> None:
    """Suspend the caller's tenant, until an owner or an operator reactivates it."""
    tenant, _ = await authorize(db, caller, SensitiveAction.SUSPEND_TENANT)
    await suspend(db, tenant, actor=caller.subject)


async def suspend(db: AsyncSession, tenant: Tenant, *, actor: str) -> None:
    """Suspend a locked tenant; raises TenantNotActive."""
    if tenant.status is TenantStatus.DELETED:
        raise TenantNotActive
    by_operator = actor == OPERATOR
    if tenant.status is TenantStatus.SUSPENDED:
        # An operator's word replaces an owner's; saying it again changes nothing.
        tenant.suspended_by_operator = tenant.suspended_by_operator or by_operator
        return
    tenant.status, tenant.suspended_by_operator = TenantStatus.SUSPENDED, by_operator
    tenant.version += 1
    await revoke_access(db, tenant)
    audit.record(db, Action.TENANT_SUSPENDED, tenant_id=tenant.id, actor=actor)
    await notify_owners(db, EmailKind.TENANT_SUSPENDED, tenant)
    event = TenantSuspended(tenant_id=tenant.id, version=tenant.version)
    publish(db, event, tenant_id=tenant.id, subject=f"tenant:{tenant.id}")


async def revoke_access(db: AsyncSession, tenant: Tenant) -> None:
    """Revoke all access tokens of a tenant, of its people and of its machines."""
    await sessions.end(db, EndReason.TENANT, Session.tenant_id == tenant.id)
    await revoke(db, RevocationKind.TENANT, str(tenant.id))


async def reactivate_own(db: AsyncSession, caller: Principal, tenant_id: UUID) -> schemas.OwnTenant:
    """Reactivate a tenant that the caller owns, whatever tenant their token is for.

    No token is valid for a suspended tenant. Raises TenantNotFound or TenantSuspendedByOperator.
    """
    tenant = await lock_tenant(db, tenant_id)
    if tenant is None or await get_role(db, tenant.id, users.user_id_of(caller)) is not Role.OWNER:
        raise TenantNotFound
    if tenant.suspended_by_operator:
        raise TenantSuspendedByOperator
    await reactivate(db, tenant, actor=caller.subject)
    return to_schema(tenant, Role.OWNER)


async def reactivate(db: AsyncSession, tenant: Tenant, *, actor: str) -> None:
    """Reactivate a locked tenant; one that is active stays as it is."""
    if tenant.status is TenantStatus.ACTIVE:
        return
    if tenant.status is TenantStatus.DELETED:
        # Its own was free for others meanwhile.
        await change_slug(db, tenant, f"{users.slugify(tenant.name)}-{tenant.id.hex[:12]}")
    tenant.status, tenant.suspended_by_operator, tenant.purge_after = TenantStatus.ACTIVE, False, None
    tenant.version += 1
    audit.record(db, Action.TENANT_REACTIVATED, tenant_id=tenant.id, actor=actor)
    await notify_owners(db, EmailKind.TENANT_REACTIVATED, tenant)
    event = TenantReactivated(tenant_id=tenant.id, version=tenant.version)
    publish(db, event, tenant_id=tenant.id, subject=f"tenant:{tenant.id}")


async def delete_own(db: AsyncSession, services: AuthServices, caller: Principal) -> None:
    """Delete the caller's tenant: end all access, and purge it after AUTH_TENANT_PURGE_DAYS."""
    tenant, _ = await authorize(db, caller, SensitiveAction.DELETE_TENANT)
    await delete_tenant(db, services, tenant, actor=caller.subject)


async def delete_tenant(db: AsyncSession, services: AuthServices, tenant: Tenant, *, actor: str) -> None:
    """Delete a locked tenant."""
    tenant.status = TenantStatus.DELETED
    tenant.slug = f"deleted-{tenant.id.hex}"
    tenant.purge_after = datetime.now(UTC) + timedelta(days=services.settings.auth_tenant_purge_days)
    tenant.version += 1
    await revoke_access(db, tenant)
    open_ones = (Invite.tenant_id == tenant.id, Invite.revoked_at.is_(None))
    await db.execute(update(Invite).where(*open_ones).values(revoked_at=func.now()))
    audit.record(db, Action.TENANT_DELETED, tenant_id=tenant.id, actor=actor)
    await notify_owners(db, EmailKind.TENANT_DELETED, tenant)
    event = TenantDeleted(tenant_id=tenant.id, version=tenant.version, purge_after=tenant.purge_after)
    publish(db, event, tenant_id=tenant.id, subject=f"tenant:{tenant.id}")


async def purge(db: AsyncSession) -> None:
    """Purge deleted tenants, old invites and sign-up requests."""
    old = func.now() - RETENTION
    for table, over in (
        (Tenant, (Tenant.status == TenantStatus.DELETED, Tenant.purge_after < func.now())),
        (Invite, (Invite.expires_at < old,)),
        (SignupRequest, (SignupRequest.decided_at < old,)),
    ):
        await db.execute(delete(table).where(*over).execution_options(synchronize_session=False))


def to_schema(tenant: Tenant, role: Role) -> schemas.OwnTenant:
    """Return the schema of a tenant with the user's role."""
    return schemas.OwnTenant(
        id=tenant.id,
        slug=tenant.slug,
        name=tenant.name,
        status=tenant.status,
        created_at=tenant.created_at,
        role=role,
    )

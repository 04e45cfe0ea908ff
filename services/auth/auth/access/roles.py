"""The role of a caller, read from the database: the one in the token may be minutes old."""

import contextlib
from uuid import UUID

from servicekit.auth.permissions import Role
from servicekit.auth.tokens import Principal
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import users
from auth.access.errors import RoleTooLow, TenantNotFound
from auth.access.sensitive_actions import POLICIES, SensitiveAction
from auth.errors import SessionEnded
from auth.models import Membership, Status, Tenant, TenantStatus, User


async def lock_tenant(db: AsyncSession, tenant_id: UUID | None) -> Tenant | None:
    """Lock and return a tenant that is not deleted."""
    # Also when the session knows the row: what it knows is from before the wait.
    query = select(Tenant).where(Tenant.id == tenant_id, Tenant.status != TenantStatus.DELETED)
    tenant: Tenant | None = await db.scalar(
        query.with_for_update(key_share=True).execution_options(populate_existing=True)
    )
    return tenant


async def find_tenant(db: AsyncSession, name: str) -> Tenant:
    """Lock a tenant by slug or id for an operator, also a deleted one; raises TenantNotFound."""
    names = [Tenant.slug == name]
    with contextlib.suppress(ValueError):
        names.append(Tenant.id == UUID(name))
    query = select(Tenant).where(or_(*names)).with_for_update(key_share=True)
    tenant: Tenant | None = await db.scalar(query)
    if tenant is None:
        raise TenantNotFound
    return tenant


async def lock_if_active(db: AsyncSession, tenant_id: UUID) -> bool:
    """Return whether a tenant is active; if so, it stays active until the transaction ends."""
    active = select(Tenant.id).where(Tenant.id == tenant_id, Tenant.status == TenantStatus.ACTIVE)
    return await db.scalar(active.with_for_update(read=True)) is not None


async def authorize(db: AsyncSession, caller: Principal, action: SensitiveAction) -> tuple[Tenant, Role]:
    """Lock the caller's tenant, and return it with the caller's current role, if that allows an action.

    Until the transaction ends nobody else can change the role. Raises as `require_role` does.
    """
    least = POLICIES[action].min_role
    assert least is not None  # noqa: S101  # an action on a tenant has one
    return await require_role(db, caller, least)


async def require_role(db: AsyncSession, caller: Principal, least: Role) -> tuple[Tenant, Role]:
    """Lock the caller's tenant and return it with their current role, restricted by the request's headers.

    Raises SessionEnded unless they are a member and the tenant is active; RoleTooLow for a lower role.
    """
    return await _require_role(db, caller, await lock_tenant(db, caller.tenant_id), least)


async def current_role(db: AsyncSession, caller: Principal, least: Role) -> Role:
    """Return the caller's role without locking anything; raises as `require_role` does."""
    tenant = await db.scalar(select(Tenant).where(Tenant.id == caller.tenant_id))
    _, role = await _require_role(db, caller, tenant, least)
    return role


async def _require_role(
    db: AsyncSession, caller: Principal, tenant: Tenant | None, least: Role
) -> tuple[Tenant, Role]:
    """Return a tenant and the caller's role in it, if it is active and the role is high enough."""
    role = await get_role(db, tenant.id, users.user_id_of(caller)) if tenant else None
    if tenant is None or role is None or tenant.status is not TenantStatus.ACTIVE or caller.role is None:
        raise SessionEnded
    role = min(role, caller.role)
    if role < least:
        raise RoleTooLow
    return tenant, role


async def get_role(db: AsyncSession, tenant_id: UUID, user_id: UUID | None) -> Role | None:
    """Return the role of an active user in a tenant, or None."""
    role: Role | None = await db.scalar(
        select(Membership.role)
        .join(User)
        .where(
            Membership.tenant_id == tenant_id,
            Membership.user_id == user_id,
            User.status == Status.ACTIVE,
        )
    )
    return role

"""The current rights of an API key: no more than those of its holder.

That is who made the key, or has rotated it since. Once they may hold no keys (they left the tenant, lost the
role, or their account is closed) the key gives nothing, unless the tenant keeps such keys. A secret that a
rotation has replaced gives nothing then in any case.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from servicekit.auth.permissions import PERMISSIONS, Role, scopes_for
from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import users
from auth.access.sensitive_actions import POLICIES, SensitiveAction
from auth.models import ApiKey, Membership, OrphanedApiKeys, Status, Tenant, TenantStatus, User

# Who may not make a key may not hold one either.
MIN_ROLE = POLICIES[SensitiveAction.CREATE_API_KEY].min_role or Role.OWNER


@dataclass(frozen=True)
class Entitlement:
    """The holder of a key, the role that it acts in, and its scopes."""

    user: User
    role: Role
    scopes: frozenset[str]


async def of_current_secret(db: AsyncSession, key: ApiKey, *, verified_only: bool) -> Entitlement | None:
    """Return the rights of the current secret, if it has any."""
    return await of_holder(db, key, key.created_by, verified_only=verified_only) or await of_tenant(db, key)


async def of_previous_secret(db: AsyncSession, key: ApiKey, *, verified_only: bool) -> Entitlement | None:
    """Return the rights of the secret before the last rotation, if it has any."""
    if key.previous_created_by is None:
        return None
    return await of_holder(db, key, key.previous_created_by, verified_only=verified_only)


async def of_any_secret(db: AsyncSession, key: ApiKey) -> Entitlement | None:
    """Return the rights of the current secret, or else of the previous one."""
    if current := await of_current_secret(db, key, verified_only=False):
        return current
    overlaps = key.previous_expires_at is not None and key.previous_expires_at > datetime.now(UTC)
    return await of_previous_secret(db, key, verified_only=False) if overlaps else None


async def of_holder(
    db: AsyncSession, key: ApiKey, holder: UUID, *, verified_only: bool
) -> Entitlement | None:
    """Return the rights of a key whose holder may still hold keys."""
    access = await users.get_access(db, holder, key.tenant_id, verified_only=verified_only)
    if access is None or access.role < MIN_ROLE:
        return None
    scopes = scopes_for(access.role).intersection(key.scopes)
    return Entitlement(access.user, access.role, scopes) if scopes else None


async def of_tenant(db: AsyncSession, key: ApiKey) -> Entitlement | None:
    """Return the rights of an orphaned key in a tenant that keeps those: all that it was created with."""
    query = (
        select(User)
        .join(Tenant, Tenant.id == key.tenant_id)
        .where(
            User.id == key.created_by,
            User.status == Status.ACTIVE,
            Tenant.status == TenantStatus.ACTIVE,
            Tenant.orphaned_api_keys == OrphanedApiKeys.KEEP,
        )
    )
    user = await db.scalar(query)
    scopes = PERMISSIONS.keys() & set(key.scopes)
    if user is None or not scopes:
        return None
    return Entitlement(user, max(PERMISSIONS[scope] for scope in scopes), frozenset(scopes))


def is_entitled() -> ColumnElement[bool]:
    """Return the condition that the holder of an API key may still hold keys."""
    return (
        select(Membership.user_id)
        .join(User)
        .where(
            Membership.tenant_id == ApiKey.tenant_id,
            Membership.user_id == ApiKey.created_by,
            Membership.role.in_([role for role in Role if role >= MIN_ROLE]),
            User.status == Status.ACTIVE,
        )
        .exists()
    )

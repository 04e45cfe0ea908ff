"""The owners of a tenant, for the service that sends them email."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from auth.access.errors import TenantNotFound
from auth.emails import active_owners
from auth.models import Tenant, TenantStatus
from auth.tenants import schemas


async def list_owners(db: AsyncSession, tenant_id: UUID) -> schemas.TenantOwners:
    """Return the name and the active owners of a tenant that is not deleted; raises TenantNotFound."""
    tenant = await db.get(Tenant, tenant_id)
    if tenant is None or tenant.status is TenantStatus.DELETED:
        raise TenantNotFound
    owners = await db.scalars(active_owners(tenant_id))
    return schemas.TenantOwners(
        tenant_name=tenant.name,
        owners=[
            schemas.TenantOwner(user_id=user.subject, email=user.email, display_name=user.display_name)
            for user in owners
        ],
    )

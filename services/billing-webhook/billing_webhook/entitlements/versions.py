"""The version of a tenant's entitlements: caches that have an older one are out of date."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.models import EntitlementVersion


async def increment(db: AsyncSession, tenant_id: UUID) -> int:
    """Take the next version, for a change of the tenant's plan, grants or budgets."""
    row = insert(EntitlementVersion).values(tenant_id=tenant_id, version=1)
    upsert = row.on_conflict_do_update(
        index_elements=[EntitlementVersion.tenant_id],
        set_={"version": EntitlementVersion.version + 1},
    )
    return (await db.execute(upsert.returning(EntitlementVersion.version))).scalar_one()


async def current(db: AsyncSession, tenant_id: UUID) -> int:
    """Return the version; 0 for a tenant of which nothing has changed."""
    query = select(EntitlementVersion.version).where(EntitlementVersion.tenant_id == tenant_id)
    return await db.scalar(query) or 0

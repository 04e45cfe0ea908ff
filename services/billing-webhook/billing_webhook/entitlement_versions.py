"""The version of a tenant's entitlements: caches that have an older one are out of date."""

from uuid import UUID

from sqlalchemy import func, literal_column, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.models import EntitlementVersion


async def increment(db: AsyncSession, tenant_id: UUID) -> None:
    """Increment the version of what the tenant may use."""
    row = insert(EntitlementVersion).values(tenant_id=tenant_id, version=1)
    upsert = row.on_conflict_do_update(
        index_elements=[EntitlementVersion.tenant_id],
        set_={"version": EntitlementVersion.version + 1},
    )
    await db.execute(upsert)


async def stamp(db: AsyncSession, tenant_id: UUID) -> str:
    """Return the version with the transaction that wrote it; "" before the first.

    Unlike the number alone, a stamp does not return with another state when a database is restored.
    """
    query = select(func.concat(EntitlementVersion.version, ":", literal_column("xmin")))
    return await db.scalar(query.where(EntitlementVersion.tenant_id == tenant_id)) or ""


async def current(db: AsyncSession, tenant_id: UUID) -> int:
    """Return the version; it grows with every change of what the tenant may use."""
    query = select(EntitlementVersion.version).where(EntitlementVersion.tenant_id == tenant_id)
    return await db.scalar(query) or 0

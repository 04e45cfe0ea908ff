"""Whether a tenant has limits at all."""

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook import entitlement_versions
from billing_webhook.entitlements import plan, quotas, schemas


async def summarise(db: AsyncSession, tenant_id: UUID) -> schemas.Limits:
    """Return which limits a tenant has, and the version of its entitlements."""
    # The version first: what is read after it is at least as new.
    version = await entitlement_versions.current(db, tenant_id)
    current = await plan.of_tenant(db, tenant_id, datetime.now(UTC))
    hard = [quota.feature for quota in quotas.quotas_of_plan(tenant_id, current) if quota.is_hard]
    budgets = await quotas.budgets_of(db, tenant_id)
    return schemas.Limits(
        has_limits=bool(hard or budgets),
        version=version,
        features=hard,
        budgets=len(budgets),
        requests=current.plan.requests,
    )

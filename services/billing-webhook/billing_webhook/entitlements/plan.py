"""The plan that a tenant has, and its period."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.entitlements.periods import Period, month_of
from billing_webhook.plans.catalog import FREE, Plan, catalog


class TenantPlan(NamedTuple):
    """A tenant's plan, and the period that its limits hold for."""

    plan: Plan
    period: Period
    subscription_id: str | None = None


async def of_tenant(db: AsyncSession, tenant_id: UUID, time: datetime) -> TenantPlan:  # noqa: ARG001  # noqa: ARG001
    """Return the plan of a tenant and the period of a time."""
    return TenantPlan(catalog().plan(FREE), month_of(time))

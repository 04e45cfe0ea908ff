"""The period that a record counts in."""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.entitlements import plan

# How long after its end a period takes records that are late. Stripe finalizes its invoices later than that.
GRACE_PERIOD = timedelta(hours=24)


class AssignedPeriod(NamedTuple):
    """The period that a record counts in, by the names of the record's columns."""

    period_start: datetime
    is_adjustment: bool
    subscription_id: str | None


async def period_of(
    db: AsyncSession, tenant_id: UUID, occurred_at: datetime, now: datetime
) -> AssignedPeriod:
    """Return the period in which something occurred, or the current one when that is closed."""
    then = await plan.of_tenant(db, tenant_id, occurred_at)
    if now < then.period.end + GRACE_PERIOD:
        return AssignedPeriod(then.period.start, is_adjustment=False, subscription_id=then.subscription_id)
    current = await plan.of_tenant(db, tenant_id, now)
    return AssignedPeriod(current.period.start, is_adjustment=True, subscription_id=current.subscription_id)

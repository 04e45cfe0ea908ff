"""Sums of what runs used, computed from their entries on demand."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import distinct, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.entitlements.periods import Period, month_of, start_of_month
from billing_webhook.errors import InvalidPeriod
from billing_webhook.models import UsageEntry
from billing_webhook.usage.schemas import ModelUsage, TenantUsage, Usage

MAX_PERIOD = timedelta(days=400)
SUMMED_COLUMNS = ("requests", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")


def requested_period(start: datetime | None, end: datetime | None) -> Period:
    """Complete a period: to the end of this month, from the start of the last month before its end.

    Raise InvalidPeriod.
    """
    end = end or month_of(datetime.now(UTC)).end
    start = start or start_of_month(end - timedelta(microseconds=1))
    if not timedelta(0) < end - start <= MAX_PERIOD:
        raise InvalidPeriod
    return Period(start, end)


async def summarise(db: AsyncSession, tenant_id: UUID, period: Period) -> TenantUsage:
    """Sum the usage of a tenant in a period, in total and by model."""
    columns = [UsageEntry.__table__.c[name] for name in SUMMED_COLUMNS]
    sums = await db.execute(
        select(
            UsageEntry.model,
            func.count(distinct(UsageEntry.run_id)).label("runs"),
            *(func.coalesce(func.sum(column), 0).label(column.name) for column in columns),
        )
        .where(UsageEntry.tenant_id == tenant_id)
        .where(UsageEntry.occurred_at >= period.start, UsageEntry.occurred_at < period.end)
        .group_by(func.rollup(UsageEntry.model))
        .order_by(UsageEntry.model.nulls_first())
    )
    # The total comes first, also when there was no usage.
    totals, *models = sums.all()
    return TenantUsage(
        tenant_id=tenant_id,
        period_start=period.start,
        period_end=period.end,
        totals=Usage.model_validate(totals),
        models=[ModelUsage.model_validate(row) for row in models],
    )

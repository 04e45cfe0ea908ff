"""Totals of a period, by feature, and the records that they are the sums of."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from servicekit.pagination import next_cursor, paginate
from servicekit.schemas import Page
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.entitlements import plan
from billing_webhook.entitlements.counters import TENANT_SCOPE
from billing_webhook.models import UsageRecord, UsageTotal
from billing_webhook.plans.catalog import catalog
from billing_webhook.usage import schemas


async def summarise(db: AsyncSession, tenant_id: UUID, time: datetime) -> schemas.UsageTotals:
    """Return the totals of the period of a time."""
    current = await plan.of_tenant(db, tenant_id, time)
    query = select(UsageTotal).filter_by(
        tenant_id=tenant_id, scope=TENANT_SCOPE, period_start=current.period.start
    )
    late = await adjustments(db, tenant_id, current.period.start)
    return schemas.UsageTotals(
        period_start=current.period.start,
        period_end=current.period.end,
        plan_code=current.plan.code,
        features=[
            schemas.FeatureTotal(
                feature_key=total.feature_key,
                used=total.used,
                reserved=total.reserved,
                adjustments=late.get(total.feature_key, Decimal(0)),
            )
            for total in await db.scalars(query.order_by(UsageTotal.feature_key))
        ],
    )


async def adjustments(db: AsyncSession, tenant_id: UUID, period_start: datetime) -> dict[str, Decimal]:
    """Sum what counts in a period and occurred before it, by feature; of those that are added up."""
    query = (
        select(UsageRecord.feature_key, func.sum(UsageRecord.quantity).label("total"))
        .where(
            UsageRecord.tenant_id == tenant_id,
            UsageRecord.period_start == period_start,
            UsageRecord.is_adjustment,
        )
        .group_by(UsageRecord.feature_key)
    )
    sums = {row.feature_key: row.total for row in await db.execute(query)}
    return {feature: total for feature, total in sums.items() if catalog().aggregation(feature) is None}


async def list_records(
    db: AsyncSession, tenant_id: UUID, feature: str | None, cursor: str | None, limit: int
) -> Page[schemas.UsageRecord]:
    """Return a page of the ledger, the newest first; raises InvalidCursor."""
    query = select(UsageRecord).where(UsageRecord.tenant_id == tenant_id)
    if feature:
        query = query.where(UsageRecord.feature_key == feature)
    page = paginate(query, UsageRecord.received_at, UsageRecord.id, limit, cursor, newest_first=True)
    rows = (await db.scalars(page)).all()
    return Page(
        items=[schemas.UsageRecord.model_validate(row) for row in rows[:limit]],
        next_cursor=next_cursor(rows, limit, "received_at", "id"),
    )

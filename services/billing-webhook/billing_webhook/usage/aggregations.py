"""How the records of a period make the total of a feature: their sum, number, maximum, last or unique values.

A reversal takes its record out of the period that it is in itself: one that is closed stays as it was billed.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, case, distinct, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from billing_webhook.entitlements import counters
from billing_webhook.entitlements.counters import TENANT_SCOPE, ZERO, Change, CounterKey
from billing_webhook.models import UsageRecord
from billing_webhook.plans.catalog import Aggregation, catalog


class TotalKey(NamedTuple):
    """The total of a feature in a period of a tenant."""

    tenant_id: UUID
    feature: str
    period_start: datetime

    @property
    def counter(self) -> CounterKey:
        """Return the key of its counter."""
        return CounterKey(self.tenant_id, self.feature, TENANT_SCOPE, self.period_start)


async def changes_of_totals(
    db: AsyncSession, records: Sequence[UsageRecord]
) -> list[tuple[CounterKey, Change]]:
    """Return by how much new records change the totals of their features."""
    changes = []
    aggregated = set()
    for record in records:
        key = TotalKey(record.tenant_id, record.feature_key, record.period_start)
        if catalog().aggregation(record.feature_key) is None:
            changes.append((key.counter, Change(used=record.quantity)))
        else:
            aggregated.add(key)
    for key in sorted(aggregated):
        await lock(db, key)
        before = await counters.read(db, key.counter)
        changes.append((key.counter, Change(used=await total_of_ledger(db, key) - before.used)))
    return changes


async def lock(db: AsyncSession, key: TotalKey) -> None:
    """Have transactions that change a total follow each other: each reads the records of those before."""
    number = func.hashtextextended(f"total:{key.tenant_id}:{key.feature}:{key.period_start.timestamp()}", 0)
    await db.execute(select(func.pg_advisory_xact_lock(number)))


async def total_of_ledger(db: AsyncSession, key: TotalKey) -> Decimal:
    """Return the total of a feature, out of its records."""
    own = {"tenant_id": key.tenant_id, "feature_key": key.feature, "period_start": key.period_start}
    is_own = [getattr(UsageRecord, name) == value for name, value in own.items()]
    return Decimal(await db.scalar(query_of(catalog().aggregation(key.feature)).where(*is_own)) or ZERO)


def query_of(aggregation: Aggregation | None) -> Select[Any]:
    """Return the query of a total."""
    if aggregation is None:
        return select(func.sum(UsageRecord.quantity))
    if aggregation.kind == "count":
        return select(func.sum(case((UsageRecord.reverses_id.is_(None), 1), else_=-1)))
    reversal = aliased(UsageRecord)
    is_reversed = exists().where(
        reversal.reverses_id == UsageRecord.id, reversal.period_start == UsageRecord.period_start
    )
    is_valid = (UsageRecord.reverses_id.is_(None), ~is_reversed)
    if aggregation.kind == "max":
        return select(func.max(UsageRecord.quantity)).where(*is_valid)
    if aggregation.kind == "last":
        newest = (UsageRecord.occurred_at.desc(), UsageRecord.received_at.desc(), UsageRecord.id.desc())
        return select(UsageRecord.quantity).where(*is_valid).order_by(*newest).limit(1)
    value = UsageRecord.dimensions[aggregation.dimension].astext
    return select(func.count(distinct(value))).where(*is_valid)

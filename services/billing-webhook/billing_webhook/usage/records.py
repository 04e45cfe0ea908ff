"""The ledger that is billed: records are written once, and counted in the same transaction."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.entitlements import counters, plan, quotas, reservations, thresholds
from billing_webhook.entitlements.budgets import FEATURES_OF_UNIT
from billing_webhook.entitlements.counters import TENANT_SCOPE, Change, CounterKey
from billing_webhook.entitlements.quotas import Subject
from billing_webhook.models import Budget, Reservation, UsageRecord


async def append(
    db: AsyncSession,
    tenant_id: UUID,
    rows: Iterable[dict[str, Any]],
    now: datetime,
    closed: Sequence[Reservation] = (),
) -> list[UsageRecord]:
    """Append the rows that are new, count them, release what they were reserved with, and return them.

    The caller holds the tenant's shared lock.
    """
    records = await insert_new(db, tenant_id, rows)
    current = await plan.of_tenant(db, tenant_id, now)
    budgets = await quotas.budgets_of(db, tenant_id)
    changes = [
        *(change for record in records for change in changes_of(record, current, budgets)),
        *reservations.releases(closed).items(),
    ]
    totals = await counters.apply(db, counters.sum_changes(changes))
    limits = [
        *quotas.quotas_of_plan(tenant_id, current),
        *(quotas.quota_of_budget(budget, current.period, now) for budget in budgets),
    ]
    await thresholds.publish_reached(db, totals, limits)
    return records


async def insert_new(db: AsyncSession, tenant_id: UUID, rows: Iterable[dict[str, Any]]) -> list[UsageRecord]:
    """Insert the rows whose idempotency keys are new to the tenant, and return their records."""
    # In the order of their keys: transactions that insert the same keys wait for each other in one direction.
    values = [
        {"id": uuid4(), "tenant_id": tenant_id, "dimensions": {}, **row}
        for row in sorted(rows, key=lambda row: str(row["idempotency_key"]))
    ]
    if not values:
        return []
    statement = insert(UsageRecord).values(values).on_conflict_do_nothing()
    return list(await db.scalars(statement.returning(UsageRecord)))


def changes_of(
    record: UsageRecord, current: plan.TenantPlan, budgets: Sequence[Budget]
) -> Iterator[tuple[CounterKey, Change]]:
    """Return by how much a record changes the counters of its feature and of the budgets it counts for."""
    change = Change(used=record.quantity)
    yield CounterKey(record.tenant_id, record.feature_key, TENANT_SCOPE, record.period_start), change
    subject = Subject(record.user_id, record.api_key_id, record.agent)
    for budget in budgets:
        if record.feature_key in FEATURES_OF_UNIT[budget.unit] and quotas.applies(budget, subject):
            yield quotas.quota_of_budget(budget, current.period, record.occurred_at).key, change


def digest(*parts: object) -> bytes:
    """Hash what a record says, to tell a repetition from another record with its key."""
    return hashlib.sha256(repr(parts).encode()).digest()

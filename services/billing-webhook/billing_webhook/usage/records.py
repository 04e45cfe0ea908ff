"""The ledger that is billed: records are written once, and counted in the same transaction."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.entitlements import counters, quotas, reservations, thresholds
from billing_webhook.entitlements.budgets import FEATURES_OF_UNIT
from billing_webhook.entitlements.counters import Change, CounterKey
from billing_webhook.entitlements.plan import TenantPlan, TenantPlans
from billing_webhook.entitlements.quotas import Quota, Subject
from billing_webhook.models import Budget, Reservation, UsageRecord
from billing_webhook.usage import aggregations, meter_events

# What only some records have.
DEFAULTS: dict[str, Any] = {
    "reverses_id": None,
    "subscription_id": None,
    "dimensions": {},
    "run_id": None,
    "user_id": None,
    "api_key_id": None,
    "agent": None,
    "model": None,
}
COLUMNS = ", ".join(column.name for column in UsageRecord.__table__.columns)
# One statement for any number of rows, in the order of their keys: transactions that insert the same keys
# wait for each other in one direction.
INSERT = text(
    f"insert into usage_records ({COLUMNS}) select {COLUMNS} "  # noqa: S608  # names of columns
    "from jsonb_populate_recordset(null::usage_records, cast(:rows as jsonb)) "
    "order by idempotency_key on conflict do nothing returning id"
)


class Appended(NamedTuple):
    """The records that are new, and the soft limits that are exceeded with them."""

    records: list[UsageRecord]
    exceeded: list[Quota]


async def append(
    db: AsyncSession, plans: TenantPlans, rows: Iterable[dict[str, Any]], closed: Sequence[Reservation] = ()
) -> Appended:
    """Append the rows that are new, count them, and release what was reserved for them.

    The caller holds the tenant's shared lock.
    """
    now = datetime.now(UTC)
    records = await insert_new(db, plans.tenant_id, rows, now)
    current = plans.at(now)
    budgets = await quotas.budgets_of(db, plans.tenant_id)
    changes = [
        *await aggregations.changes_of_totals(db, records),
        *(change for record in records for change in changes_of_budgets(record, current, budgets)),
        *reservations.releases(closed).items(),
    ]
    totals = await counters.apply(db, counters.sum_changes(changes))
    limits = [
        *quotas.quotas_of_plan(plans.tenant_id, current),
        *(quotas.quota_of_budget(budget, current.period, now) for budget in budgets),
    ]
    meter_events.schedule(records, totals, plans, now)
    await thresholds.publish_reached(db, totals, limits)
    exceeded = [limit for limit in limits if limit.key in totals and totals[limit.key].used > limit.limit]
    return Appended(records, [limit for limit in exceeded if not limit.is_hard])


async def insert_new(
    db: AsyncSession, tenant_id: UUID, rows: Iterable[dict[str, Any]], now: datetime
) -> list[UsageRecord]:
    """Insert the rows whose idempotency keys are new to the tenant, and return their records."""
    values = [{**DEFAULTS, "id": uuid4(), "tenant_id": tenant_id, "received_at": now, **row} for row in rows]
    if not values:
        return []
    inserted = set(await db.scalars(INSERT, {"rows": orjson.dumps(values, default=encode).decode()}))
    return [UsageRecord(**value) for value in values if value["id"] in inserted]


def encode(value: object) -> str:
    """Write what JSON does not have, as Postgres reads it."""
    return rf"\x{value.hex()}" if isinstance(value, bytes) else str(value)


def changes_of_budgets(
    record: UsageRecord, current: TenantPlan, budgets: Sequence[Budget]
) -> Iterator[tuple[CounterKey, Change]]:
    """Return by how much a record changes the counters of the budgets that it counts for."""
    change = Change(used=record.quantity)
    subject = Subject(record.user_id, record.api_key_id, record.agent)
    for budget in budgets:
        if record.feature_key in FEATURES_OF_UNIT[budget.unit] and quotas.applies(budget, subject):
            yield quotas.quota_of_budget(budget, current.period, record.occurred_at).key, change


def digest(*parts: object) -> bytes:
    """Hash what a record says, to tell a repetition from another record with its key."""
    return hashlib.sha256(repr(parts).encode()).digest()

"""Counters of what is used and reserved. Every function changes them in the order of their keys.

The order is what keeps two transactions from waiting for each other.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.models import UsageTotal

TENANT_SCOPE = "tenant"
# Its text is the same for any number of counters, so that it is prepared once.
UPSERT = text("""
    insert into usage_totals (tenant_id, feature_key, scope, period_start, used, reserved)
    select * from unnest(
        cast(:tenant_id as uuid[]), cast(:feature as text[]), cast(:scope as text[]),
        cast(:period_start as timestamptz[]), cast(:used as numeric[]), cast(:reserved as numeric[])
    )
    on conflict (tenant_id, feature_key, scope, period_start) do update set
        used = usage_totals.used + excluded.used,
        reserved = usage_totals.reserved + excluded.reserved
    returning usage_totals.*
""")
ZERO = Decimal(0)


class CounterKey(NamedTuple):
    """Names a counter; keys sort in the order in which their rows are locked."""

    tenant_id: UUID
    feature: str
    scope: str
    period_start: datetime


class Change(NamedTuple):
    """By how much a counter grows."""

    used: Decimal = ZERO
    reserved: Decimal = ZERO

    def plus(self, other: "Change") -> "Change":
        """Return both changes together."""
        return Change(self.used + other.used, self.reserved + other.reserved)


async def lock_shared(db: AsyncSession, tenant_id: UUID) -> None:
    """Lock the tenant's budgets against changes until the transaction ends."""
    await db.execute(select(func.pg_advisory_xact_lock_shared(lock_of(tenant_id))))


async def lock_exclusive(db: AsyncSession, tenant_id: UUID) -> None:
    """Wait for all transactions that count, and keep new ones waiting until this one ends."""
    await db.execute(select(func.pg_advisory_xact_lock(lock_of(tenant_id))))


def lock_of(tenant_id: UUID) -> int:
    """Return the number of a tenant's advisory lock."""
    return int.from_bytes(tenant_id.bytes[:8], signed=True)


async def read(db: AsyncSession, key: CounterKey) -> Change:
    """Return what is used and reserved."""
    query = select(UsageTotal.used, UsageTotal.reserved).filter_by(**as_columns(key))
    counter = (await db.execute(query)).one_or_none()
    return Change(*counter) if counter else Change()


async def apply(db: AsyncSession, changes: Mapping[CounterKey, Change]) -> dict[CounterKey, UsageTotal]:
    """Change counters, whatever their limits are, and return them."""
    if not changes:
        return {}
    columns = zip(*((*key, *changes[key]) for key in sorted(changes)), strict=True)
    values = dict(zip((*CounterKey._fields, *Change._fields), map(list, columns), strict=True))
    options = {"populate_existing": True}
    totals = await db.scalars(select(UsageTotal).from_statement(UPSERT), values, execution_options=options)
    return {key_of(total): total for total in totals}


def sum_changes(changes: Iterable[tuple[CounterKey, Change]]) -> dict[CounterKey, Change]:
    """Add up changes by counter."""
    sums: defaultdict[CounterKey, Change] = defaultdict(Change)
    for key, change in changes:
        sums[key] = sums[key].plus(change)
    return dict(sums)


def key_of(total: UsageTotal) -> CounterKey:
    """Return the key of a counter's row."""
    return CounterKey(total.tenant_id, total.feature_key, total.scope, total.period_start)


def as_columns(key: CounterKey) -> dict[str, object]:
    """Return the columns of a key."""
    return {
        "tenant_id": key.tenant_id,
        "feature_key": key.feature,
        "scope": key.scope,
        "period_start": key.period_start,
    }

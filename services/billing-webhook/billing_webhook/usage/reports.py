"""Usage that clients report: recorded once by its idempotency key, and corrected by reversals."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from pydantic import JsonValue
from servicekit.errors import ServiceError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook import audit
from billing_webhook.audit import Actor, AuditAction
from billing_webhook.entitlements import counters, plan
from billing_webhook.entitlements.plan import TenantPlans
from billing_webhook.entitlements.quotas import Quota
from billing_webhook.errors import (
    DimensionMissing,
    FeatureNotFound,
    FeatureNotMetered,
    NotEntitled,
    TooLate,
    UsageAlreadyReversed,
    UsageConflict,
    UsageInFuture,
    UsageOutsidePeriod,
    UsageRecordNotFound,
)
from billing_webhook.models import UsageRecord
from billing_webhook.plans.catalog import catalog
from billing_webhook.quantities import to_text
from billing_webhook.usage import records, schemas
from billing_webhook.usage.periods import assign_period
from billing_webhook.usage.schemas import Reversal, UsageReport

MAX_AGE = timedelta(days=35)
MAX_AHEAD = timedelta(minutes=5)
# What a reversal has in common with the record that it takes back.
COPIED_COLUMNS = (
    "feature_key",
    "occurred_at",
    "source",
    "dimensions",
    "run_id",
    "user_id",
    "api_key_id",
    "agent",
    "model",
)


@dataclass(frozen=True)
class Recorded:
    """A record, whether an earlier request had stored it, and the soft limits that are exceeded."""

    record: UsageRecord
    is_replay: bool
    exceeded: Sequence[Quota] = ()


Outcome = Recorded | ServiceError


async def report(db: AsyncSession, actor: Actor, tenant_id: UUID, usage: UsageReport) -> Recorded:
    """Record usage; the same report again returns the first record. Raises what is wrong with it."""
    [outcome] = await report_all(db, actor, tenant_id, [usage])
    if isinstance(outcome, ServiceError):
        raise outcome
    return outcome


async def report_all(
    db: AsyncSession, actor: Actor, tenant_id: UUID, reports: Sequence[UsageReport]
) -> list[Outcome]:
    """Record each report that can be recorded, and return what has become of each, in order."""
    now = datetime.now(UTC)
    await counters.lock_shared(db, tenant_id)
    plans = await plan.load(db, tenant_id)
    rows = [row_or_error(plans, usage, now) for usage in reports]
    new = {row["idempotency_key"]: row for row in reversed(rows) if isinstance(row, dict)}
    inserted, exceeded = await records.append(db, plans, new.values())
    record_reported(db, actor, tenant_id, inserted)
    known = {record.idempotency_key: record for record in inserted}
    known |= await find_by_keys(db, tenant_id, new.keys() - known.keys())
    unseen = {record.idempotency_key for record in inserted}
    outcomes: list[Outcome] = []
    for row in rows:
        if isinstance(row, ServiceError):
            outcomes.append(row)
            continue
        key = str(row["idempotency_key"])
        is_same = known[key].digest == row["digest"]
        outcomes.append(Recorded(known[key], key not in unseen, exceeded) if is_same else UsageConflict())
        unseen.discard(key)
    return outcomes


def record_reported(db: AsyncSession, actor: Actor, tenant_id: UUID, records: Sequence[UsageRecord]) -> None:
    """Record in the audit log what a person has reported by hand; machines report all the time."""
    if not records or not actor.is_user:
        return
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for record in records:
        sums[record.feature_key] += record.quantity
    quantities: dict[str, JsonValue] = {feature: to_text(quantity) for feature, quantity in sums.items()}
    detail: dict[str, JsonValue] = {"records": len(records), "quantities": quantities}
    audit.record(db, actor, AuditAction.USAGE_REPORTED, tenant_id=tenant_id, **detail)


def row_or_error(plans: TenantPlans, usage: UsageReport, now: datetime) -> dict[str, Any] | ServiceError:
    """Return the ledger's row for a report, or what is wrong with it."""
    try:
        return row_of(plans, usage, now)
    except ServiceError as error:
        return error


def row_of(plans: TenantPlans, usage: UsageReport, now: datetime) -> dict[str, Any]:
    """Return the ledger's row for a report."""
    occurred_at = time_of(usage, now)
    check_feature(plans, usage.feature_key, occurred_at)
    check_dimension(usage)
    return {
        **assign_period(plans, occurred_at, now)._asdict(),
        "feature_key": usage.feature_key,
        "quantity": usage.quantity,
        "idempotency_key": usage.idempotency_key,
        "digest": records.digest(usage.model_dump_json()),
        "occurred_at": occurred_at,
        "source": "api",
        "dimensions": usage.dimensions,
    }


def time_of(usage: UsageReport, now: datetime) -> datetime:
    """Return when usage occurred: now, or at the end of a period that is named alone and over.

    Raises UsageInFuture, TooLate or UsageOutsidePeriod.
    """
    start, end = usage.period_start, usage.period_end
    last = now if end is None else min(now, end - timedelta(microseconds=1))
    occurred_at = (usage.occurred_at or last).astimezone(UTC)
    if occurred_at > now + MAX_AHEAD:
        raise UsageInFuture
    if occurred_at < now - MAX_AGE:
        raise TooLate
    if (start and occurred_at < start) or (end and occurred_at >= end):
        raise UsageOutsidePeriod
    return occurred_at


def check_feature(plans: TenantPlans, feature: str, time: datetime) -> None:
    """Verify that the plan counts a feature; raises FeatureNotFound, FeatureNotMetered or NotEntitled."""
    if feature not in catalog().features:
        raise FeatureNotFound
    current = plans.at(time)
    if not current.includes(feature):
        raise NotEntitled
    limit = current.limit(feature)
    if limit is None or not limit.resets:
        raise FeatureNotMetered


def check_dimension(usage: UsageReport) -> None:
    """Verify that usage has the dimension by which its feature is counted; raises DimensionMissing."""
    aggregation = catalog().aggregation(usage.feature_key)
    if aggregation and aggregation.dimension and aggregation.dimension not in usage.dimensions:
        raise DimensionMissing(f"Usage of this feature needs the dimension {aggregation.dimension}.")


async def find_by_keys(db: AsyncSession, tenant_id: UUID, keys: set[object]) -> Mapping[str, UsageRecord]:
    """Return the tenant's records with these idempotency keys."""
    if not keys:
        return {}
    is_one = (UsageRecord.tenant_id == tenant_id, UsageRecord.idempotency_key.in_(keys))
    return {record.idempotency_key: record for record in await db.scalars(select(UsageRecord).where(*is_one))}


async def reverse(
    db: AsyncSession, actor: Actor, tenant_id: UUID, record_id: UUID, reversal: Reversal
) -> Recorded:
    """Reverse a record by another one; in its period while that is open, otherwise in the current one.

    Raises UsageRecordNotFound, UsageAlreadyReversed or UsageConflict.
    """
    now = datetime.now(UTC)
    await counters.lock_shared(db, tenant_id)
    original = await db.scalar(select(UsageRecord).filter_by(tenant_id=tenant_id, id=record_id))
    if original is None:
        raise UsageRecordNotFound
    if original.reverses_id is not None:
        raise UsageAlreadyReversed
    plans = await plan.load(db, tenant_id)
    inserted, _ = await records.append(db, plans, [reversal_of(plans, original, reversal, now)])
    if inserted:
        record_reversed(db, actor, inserted[0])
        return Recorded(inserted[0], is_replay=False)
    known = await find_by_keys(db, tenant_id, {reversal.idempotency_key})
    if (record := known.get(reversal.idempotency_key)) is None:
        raise UsageAlreadyReversed
    if record.reverses_id != record_id:
        raise UsageConflict
    return Recorded(record, is_replay=True)


def record_reversed(db: AsyncSession, actor: Actor, reversal: UsageRecord) -> None:
    """Record in the audit log that a record was taken back."""
    audit.record(
        db,
        actor,
        AuditAction.USAGE_REVERSED,
        tenant_id=reversal.tenant_id,
        record_id=str(reversal.reverses_id),
        feature=reversal.feature_key,
        quantity=to_text(reversal.quantity),
    )


def reversal_of(
    plans: TenantPlans, original: UsageRecord, reversal: Reversal, now: datetime
) -> dict[str, Any]:
    """Return the ledger's row that takes a record back."""
    assigned = assign_period(plans, original.occurred_at, now)
    if not assigned.is_adjustment:
        assigned = assigned._replace(period_start=original.period_start, is_adjustment=original.is_adjustment)
    return {
        **{name: getattr(original, name) for name in COPIED_COLUMNS},
        **assigned._asdict(),
        "quantity": -original.quantity,
        "reverses_id": original.id,
        "idempotency_key": reversal.idempotency_key,
        "digest": records.digest(original.id),
    }


async def report_batch(
    db: AsyncSession, actor: Actor, tenant_id: UUID, batch: schemas.UsageBatch
) -> schemas.UsageResults:
    """Record the reports of a batch that can be recorded, and describe what has become of each."""
    valid = [usage for usage in batch.reports if isinstance(usage, UsageReport)]
    outcomes = iter(await report_all(db, actor, tenant_id, valid))
    results = [
        result_of(index, next(outcomes) if isinstance(usage, UsageReport) else usage)
        for index, usage in enumerate(batch.reports)
    ]
    states = Counter(result.state for result in results)
    return schemas.UsageResults(
        recorded=states["recorded"], replayed=states["replayed"], refused=states["refused"], items=results
    )


def result_of(index: int, outcome: Outcome | schemas.InvalidReport) -> schemas.UsageResult:
    """Describe what has become of one report."""
    if isinstance(outcome, Recorded):
        state: Literal["replayed", "recorded"] = "replayed" if outcome.is_replay else "recorded"
        record = schemas.UsageRecord.model_validate(outcome.record)
        return schemas.UsageResult(index=index, state=state, record=record)
    if isinstance(outcome, schemas.InvalidReport):
        error = schemas.UsageError(status=422, code="invalid_request", detail=outcome.detail)
    else:
        error = schemas.UsageError(status=outcome.status, code=outcome.code(), detail=outcome.detail)
    return schemas.UsageResult(index=index, state="refused", error=error)

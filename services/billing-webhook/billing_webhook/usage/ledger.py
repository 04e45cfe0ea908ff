"""The usage ledger: entries are written once and summed on demand."""

import logging
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self
from uuid import UUID

from servicekit.auth.tokens import Principal
from servicekit.events.outbox import ReceivedEvent
from sqlalchemy import distinct, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook import erasure
from billing_webhook.errors import InvalidPeriod, TenantNotFound
from billing_webhook.models import UsageEntry
from billing_webhook.received_events import RunCompleted
from billing_webhook.usage.schemas import ModelUsage, TenantUsage, Usage

logger = logging.getLogger(__name__)

MAX_PERIOD = timedelta(days=400)
SUMMED_COLUMNS = ("requests", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")


class Period(NamedTuple):
    """A time span in UTC; the end is exclusive."""

    start: datetime
    end: datetime

    @classmethod
    def from_bounds(cls, start: datetime | None, end: datetime | None) -> Self:
        """Complete a period: to the end of this month, from the start of the last month before its end.

        Raise InvalidPeriod.
        """
        end = end or start_of_month(start_of_month(datetime.now(UTC)) + timedelta(days=31))
        start = start or start_of_month(end - timedelta(microseconds=1))
        if not timedelta(0) < end - start <= MAX_PERIOD:
            raise InvalidPeriod
        return cls(start, end)


def start_of_month(time: datetime) -> datetime:
    """Return the start of a month."""
    return time.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


async def record(db: AsyncSession, received: ReceivedEvent) -> None:
    """Record the usage of a run; a run that is in the ledger already is not changed."""
    run = RunCompleted.model_validate(received.data)
    if not run.usage:
        return
    values = run.model_dump(include={"run_id", "conversation_id", "tenant_id", "agent", "estimated"})
    values["user_id"] = await erasure.subject_or_anonymous(db, run.user_id, run.tenant_id)
    common = {**values, "event_id": received.id, "occurred_at": run.completed_at}
    entries = [{**common, **usage.model_dump()} for usage in run.usage]
    inserted = await db.scalars(
        insert(UsageEntry).values(entries).on_conflict_do_nothing().returning(UsageEntry.id)
    )
    if len(inserted.all()) < len(entries):
        logger.warning("usage of this run is in the ledger already", extra={"run_id": str(run.run_id)})


async def summarise(db: AsyncSession, caller: Principal, tenant_id: UUID, period: Period) -> TenantUsage:
    """Sum the usage of the caller's tenant in a period, in total and by model."""
    if tenant_id != caller.tenant_id:
        raise TenantNotFound
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

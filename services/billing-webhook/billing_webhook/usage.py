"""The usage ledger: what the runs of each tenant used, written once and summed up on demand."""

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
from billing_webhook.errors import PeriodInvalid, TenantUnknown
from billing_webhook.events import RunCompleted
from billing_webhook.models import UsageEntry
from billing_webhook.schemas import ModelUsage, TenantUsage, Usage

logger = logging.getLogger(__name__)

LONGEST_PERIOD = timedelta(days=400)
SUMMED = ("requests", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")


class Period(NamedTuple):
    """A time span in UTC, without its end."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, start: datetime | None, end: datetime | None) -> Self:
        """Fill in what was left out: up to the end of this month, from the start of the last month therein.

        Raises PeriodInvalid.
        """
        end = end or month_of(month_of(datetime.now(UTC)) + timedelta(days=31))
        start = start or month_of(end - timedelta(microseconds=1))
        if not timedelta(0) < end - start <= LONGEST_PERIOD:
            raise PeriodInvalid
        return cls(start, end)


def month_of(moment: datetime) -> datetime:
    """Give the first moment of a month."""
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


async def record(session: AsyncSession, received: ReceivedEvent) -> None:
    """Enter what a run used; a run that is in the ledger already stays as it is."""
    run = RunCompleted.model_validate(received.data)
    if not run.usage:
        return
    about = run.model_dump(include={"run_id", "conversation_id", "tenant_id", "agent", "estimated"})
    about["user_id"] = await erasure.still_known(session, run.user_id, run.tenant_id)
    common = {**about, "event_id": received.id, "occurred_at": run.completed_at}
    entries = [{**common, **used.model_dump()} for used in run.usage]
    entered = await session.scalars(
        insert(UsageEntry).values(entries).on_conflict_do_nothing().returning(UsageEntry.id)
    )
    if len(entered.all()) < len(entries):
        logger.warning("usage of this run was in the ledger already", extra={"run_id": str(run.run_id)})


async def summarise(session: AsyncSession, caller: Principal, tenant_id: UUID, period: Period) -> TenantUsage:
    """Sum up what the caller's tenant used in a period, in all and by model."""
    if tenant_id != caller.tenant_id:
        raise TenantUnknown
    columns = [UsageEntry.__table__.c[name] for name in SUMMED]
    sums = await session.execute(
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
    # The sum over all models comes first, and also when there was no usage.
    totals, *models = sums.all()
    return TenantUsage(
        tenant_id=tenant_id,
        period_start=period.start,
        period_end=period.end,
        totals=Usage.model_validate(totals),
        models=[ModelUsage.model_validate(row) for row in models],
    )

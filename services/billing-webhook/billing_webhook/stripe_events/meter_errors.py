"""Reports usage that Stripe could not count, and has events fetched that Stripe failed to send."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime

from servicekit.database import wake_on_commit
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession
from stripe import StripeObject
from stripe.events import V1BillingMeterErrorReportTriggeredEvent

from billing_webhook.models import StripeCursor
from billing_webhook.stripe_events import metrics
from billing_webhook.stripe_events.handling import Handling
from billing_webhook.usage import meter_events

logger = logging.getLogger(__name__)

BACKFILL = "events"
LONG_AGO = datetime(2010, 1, 1, tzinfo=UTC)


async def apply(db: AsyncSession, about: Handling) -> None:
    """Count the event, and log it for an operator."""
    event = about.event
    if event.type == "v2.core.health.event_generation_failure.resolved":
        await make_due(db)
        return
    metrics.METER_ERRORS.labels(event.type).inc()
    logger.error("stripe meter error", extra={"type": event.type, "meter": event.subject.id})
    for code, identifiers in reported(about.fetched):
        await meter_events.mark_reported(db, identifiers, code)


def reported(report: StripeObject | None) -> Iterator[tuple[str, list[str]]]:
    """Return the errors of a report, each with the meter events that it names as samples."""
    if isinstance(report, V1BillingMeterErrorReportTriggeredEvent):
        for error in report.data.reason.error_types:
            yield error.code, [sample.request.identifier for sample in error.sample_errors]


async def make_due(db: AsyncSession) -> None:
    """Have the backfill run now."""
    await db.execute(update(StripeCursor).where(StripeCursor.name == BACKFILL).values(started_at=LONG_AGO))
    wake_on_commit(db, BACKFILL)

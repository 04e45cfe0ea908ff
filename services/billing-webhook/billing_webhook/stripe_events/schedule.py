"""Jobs that run at intervals on one replica: backfill, report of drift, redaction of old payloads."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from servicekit.database import Database
from servicekit.workers.base import LoopWorker
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from stripe import StripeClient

from billing_webhook.models import StripeCursor, StripeEvent
from billing_webhook.settings import Settings
from billing_webhook.stripe_events import metrics
from billing_webhook.stripe_events.backfill import backfill
from billing_webhook.stripe_events.drift import reconcile
from billing_webhook.stripe_events.meter_errors import BACKFILL
from billing_webhook.tenant_erasure import redact_events

logger = logging.getLogger(__name__)

POLL_SECONDS = 60.0
RETRY = timedelta(minutes=1)
PAYLOAD_RETENTION = timedelta(days=90)
# Stripe lists events for 30 days, and repeats none that is older.
EVENT_RETENTION = timedelta(days=400)
REDACTED_AT_ONCE = 1000


@dataclass(frozen=True)
class Job:
    """Work that is done by one replica every so often."""

    name: str
    interval: timedelta
    run: Callable[[], Awaitable[object]]


class ScheduledJobs(LoopWorker):
    """Runs jobs when they are due; replicas take turns."""

    def __init__(self, database: Database, client: StripeClient, settings: Settings) -> None:
        super().__init__("stripe-jobs", wakeup=database.wakeup(BACKFILL))
        self._database = database
        self._client = client
        self._settings = settings
        self._jobs = (
            Job(BACKFILL, timedelta(minutes=15), self._backfill),
            Job("drift", timedelta(days=1), self._report_drift),
            Job("payloads", timedelta(hours=1), self._redact),
        )

    async def begin(self) -> None:
        """Verify that the database is reachable."""
        await self._database.ping()

    async def step(self) -> float:
        """Run the jobs that are due."""
        for job in self._jobs:
            if await take_turn(self._database, job):
                await self._run(job)
        return POLL_SECONDS

    async def _run(self, job: Job) -> None:
        try:
            await job.run()
        except Exception:
            await postpone(self._database, job)
            raise

    async def _backfill(self) -> None:
        if missing := await backfill(self._database, self._client, self._settings):
            logger.warning("stripe events were missing", extra={"events": missing})

    async def _report_drift(self) -> None:
        drifts = await reconcile(self._database, self._client, self._settings)
        metrics.DRIFT.set(len(drifts))
        for drift in drifts:
            about = {"subscription": drift.subscription_id, "differences": ", ".join(drift.differences)}
            logger.error("a subscription differs from Stripe's", extra=about)

    async def _redact(self) -> None:
        while await redact_payloads(self._database) or await redact_events(self._database):
            pass


async def take_turn(database: Database, job: Job) -> bool:
    """Return whether a job is due, and no other replica has begun it."""
    turn = insert(StripeCursor).values(name=job.name, started_at=func.now())
    due = turn.on_conflict_do_update(
        index_elements=["name"],
        set_={"started_at": func.now()},
        where=StripeCursor.started_at <= func.now() - job.interval,
    )
    async with database.begin() as db:
        return await db.scalar(due.returning(StripeCursor.name)) is not None


async def postpone(database: Database, job: Job) -> None:
    """Have a job that has failed run again in a minute."""
    soon = func.now() - job.interval + RETRY
    async with database.begin() as db:
        await db.execute(update(StripeCursor).where(StripeCursor.name == job.name).values(started_at=soon))


async def redact_payloads(database: Database) -> int:
    """Delete what events contained, after its retention; return of how many. Their ids stay."""
    old = select(StripeEvent.id).where(
        StripeEvent.received_at < func.now() - PAYLOAD_RETENTION, StripeEvent.payload.is_not(None)
    )
    some = old.limit(REDACTED_AT_ONCE).with_for_update(skip_locked=True)
    redacted = update(StripeEvent).where(StripeEvent.id.in_(some)).values(payload=None)
    async with database.begin() as db:
        return len((await db.scalars(redacted.returning(StripeEvent.id))).all())

"""The worker that processes stored events: claim, fetch the object, apply it in one transaction."""

import asyncio
import logging
import time
from datetime import UTC, datetime

from servicekit import context
from servicekit.database import Database
from servicekit.workers.base import LoopWorker, shielded
from sqlalchemy.ext.asyncio import AsyncSession
from stripe import StripeClient

from billing_webhook.settings import Settings
from billing_webhook.stripe_events import handling, metrics, queue, tenants
from billing_webhook.stripe_events.envelope import Envelope
from billing_webhook.stripe_events.handlers import HANDLERS, Handler
from billing_webhook.stripe_events.handling import Handling
from billing_webhook.stripe_events.queue import Claim, LeaseLost
from billing_webhook.stripe_events.receive import DISPATCHES
from billing_webhook.stripe_events.retries import outcome_of

logger = logging.getLogger(__name__)

# At once, each of another customer.
BATCH = 8
# Less than the lease.
HANDLER_SECONDS = 45.0
# What this process stores is processed at once, what others store after so many seconds.
POLL_SECONDS = 5.0
# With a dispatch due for longer than this, a process of workers alone is not ready.
MAX_AGE_SECONDS = 900.0


class PayloadRedacted(Exception):
    """The event is past its retention."""


class DispatchWorker(LoopWorker):
    """Processes dispatches; several replicas may run, of different versions."""

    def __init__(
        self, database: Database, client: StripeClient, settings: Settings, *, is_standalone: bool
    ) -> None:
        super().__init__("stripe-dispatches", wakeup=database.wakeup(DISPATCHES))
        self._database = database
        self._client = client
        self._settings = settings
        self._is_standalone = is_standalone
        self._oldest = 0.0
        metrics.OLDEST.set_function(lambda: self._oldest)

    async def begin(self) -> None:
        """Verify that the database is reachable."""
        await self._database.ping()

    async def step(self) -> float:
        """Process one batch of what is due, and the next one at once while there is more."""
        async with self._database.begin() as db:
            backlog = await queue.backlog(db, HANDLERS.keys())
            claims = await queue.claim(db, HANDLERS.keys(), BATCH) if backlog.next <= 0 else []
        self._oldest = max(backlog.oldest, 0.0)
        if claims:
            await shielded(self._process_all(claims))
        return 0.0 if claims else min(max(backlog.next, 0.1), POLL_SECONDS)

    def healthy(self) -> bool:
        """Return whether steps are taken and, in a process of workers alone, whether they keep up.

        A process that answers the webhook stays ready: events must be stored above all when many wait.
        """
        is_late = self._is_standalone and self._oldest >= MAX_AGE_SECONDS
        return super().healthy() and not is_late

    async def _process_all(self, claims: list[Claim]) -> None:
        async with asyncio.TaskGroup() as group:
            for claim in claims:
                group.create_task(self._process(claim))

    async def _process(self, claim: Claim) -> None:
        """Process a dispatch, and store what came of it; raises what the database raises."""
        dispatch, started = claim.dispatch, time.monotonic()
        with context.scope(correlation_id=dispatch.event_id):
            try:
                status, error = await self._attempt(claim), ""
            except LeaseLost:
                status, error = "lease_lost", ""
            about = {"event_id": dispatch.event_id, "handler": dispatch.handler, "attempt": dispatch.attempts}
            outcome = {"status": status, "error": error, "seconds": round(time.monotonic() - started, 3)}
            logger.info("stripe dispatch", extra=about | outcome)
        metrics.DISPATCHED.labels(dispatch.handler, status).inc()

    async def _attempt(self, claim: Claim) -> str:
        """Process a dispatch, and return its status; raises LeaseLost."""
        try:
            async with asyncio.timeout(HANDLER_SECONDS):
                return await self._handle(claim)
        except LeaseLost:
            raise
        except Exception as error:
            return await self._postpone(claim, error)

    async def _handle(self, claim: Claim) -> str:
        if claim.payload is None:
            raise PayloadRedacted
        event = Envelope.model_validate_json(claim.payload)
        handler = HANDLERS[claim.dispatch.handler]
        fetched_at = datetime.now(UTC)
        fetched = await handler.fetch(self._client, event)
        async with self._database.begin() as db:
            customer = tenants.customer_of(fetched.to_dict()) if fetched else None
            if customer and customer != claim.dispatch.ordering_key:
                await queue.reorder(db, claim, customer)
                return "reordered"
            tenant_id = await tenants.resolve(db, event, fetched) if handler.has_tenant else None
            about = Handling(
                claim.dispatch.handler,
                event,
                tenant_id,
                fetched,
                fetched_at,
                self._settings.stripe_product_price_map,
            )
            await self._apply(db, claim, handler, about)
        observe(claim, event)
        return "completed"

    async def _apply(self, db: AsyncSession, claim: Claim, handler: Handler, about: Handling) -> None:
        """Apply an object and complete its dispatch, unless something newer was applied; raises LeaseLost."""
        await queue.complete(db, claim, about.tenant_id)
        if about.tenant_id:
            context.bind(tenant_id=str(about.tenant_id))
            await tenants.restrict(db, about.tenant_id)
        if about.fetched is None and await handling.is_outdated(db, about.handler, about.event):
            return
        await handler.apply(db, about)
        await handling.record_applied(db, about.handler, about.event)

    async def _postpone(self, claim: Claim, error: Exception) -> str:
        outcome = outcome_of(error, claim.dispatch)
        async with self._database.begin() as db:
            await queue.postpone(db, claim, outcome)
        about = {"handler": claim.dispatch.handler, "error": outcome.error}
        if outcome.pause is None:
            logger.error("stripe dispatch needs an operator", extra=about | {"status": outcome.status})
        else:
            logger.warning("stripe dispatch failed, and will be retried", extra=about)
        return outcome.status


def observe(claim: Claim, event: Envelope) -> None:
    """Measure how long it took to apply an event."""
    metrics.ATTEMPTS.observe(claim.dispatch.attempts)
    metrics.APPLIED.observe((datetime.now(UTC) - event.created).total_seconds())

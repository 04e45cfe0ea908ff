"""Send due emails: each once, later when the provider is down, and never after they have expired."""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind
from prometheus_client import Counter
from servicekit import telemetry
from servicekit.backoff import Backoff
from servicekit.database import Database
from servicekit.encryption import DecryptionFailed
from servicekit.workers.base import LoopWorker, shielded

from notification import deliveries, rendering
from notification.deliveries import Outcome
from notification.models import Delivery
from notification.resend_mailer import PermanentFailure, ResendMailer, TemporaryFailure, open_mailer
from notification.settings import Settings

logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__)

BATCH_SIZE = 5
# The shortest and the longest pause between two polls, while nothing is due. What this process enqueues is
# sent at once; the longest is for what another one has enqueued and left, and for senders in our way.
POLL_SECONDS = (0.1, 10.0)
# Minimum and maximum pause while the provider accepts no email at all.
CIRCUIT_SECONDS = (0.5, 15.0)
# How long an email that is being sent may still take on shutdown.
GRACE_SECONDS = 5
ATTEMPTS = Counter("notification_attempts_total", "Attempts to send an email.", ["template", "status"])


class Sender(LoopWorker):
    """Claim due deliveries and hand them to the provider. Any number of senders may run."""

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__("sender", wakeup=database.wakeup(Delivery.__tablename__))
        self._database = database
        self._settings = settings
        self._circuit = Backoff(*CIRCUIT_SECONDS, time.monotonic)

    async def run(self) -> None:
        """Send until cancelled."""
        async with open_mailer(self._settings) as self._mailer:
            await super().run()

    async def begin(self) -> None:
        """Rely on nothing but what the next step finds out by itself."""

    async def step(self) -> float:
        """Send one batch; while the provider takes nothing, rest longer and longer."""
        # No transaction is open during the request: the lease keeps the deliveries ours.
        async with self._database.begin() as db:
            batch = await deliveries.claim(db, BATCH_SIZE)
            if not batch:
                shortest, longest = POLL_SECONDS
                return min(max(await deliveries.seconds_until_due(db), shortest), longest)
        await shielded(self._send_all(batch), GRACE_SECONDS)
        return self._circuit.remaining()

    async def idle(self, seconds: float) -> None:
        """Idle until it is time to poll or an email is enqueued."""
        if self._circuit.remaining():
            # The provider takes no email now, however many there are.
            await asyncio.sleep(seconds)
        else:
            await super().idle(seconds)

    async def _send_all(self, batch: Sequence[Delivery]) -> None:
        outcomes = await asyncio.gather(*map(self._send, batch))
        if "sent" in outcomes:
            self._circuit.reset()
        elif "queued" in outcomes:
            self._circuit.fail()

    async def _send(self, delivery: Delivery) -> str:
        with attempt_span(delivery):
            return await self._try(delivery)

    async def _try(self, delivery: Delivery) -> str:
        fields = {
            "delivery_id": str(delivery.id),
            "template": delivery.template,
            "attempt": delivery.attempts,
        }
        try:
            outcome = await attempt(delivery, self._mailer, self._settings)
            async with self._database.begin() as db:
                has_lease = await deliveries.finish(db, delivery, outcome)
        except Exception:
            # A bug with one email must not stop the others. It is tried again when its lease expires.
            logger.exception("sending an email failed", extra=fields)
            return "broken"
        ATTEMPTS.labels(delivery.template, outcome.status).inc()
        level = logging.WARNING if outcome.error else logging.INFO
        result = {"status": outcome.status, "error": outcome.error, "lease_lost": not has_lease}
        logger.log(level, "email attempt", extra={**fields, **result})
        return outcome.status


def attempt_span(delivery: Delivery) -> AbstractContextManager[Span]:
    """Start the span of one attempt, in the trace of the request that caused the email."""
    return tracer.start_as_current_span(
        f"send {delivery.template}",
        context=telemetry.parent(delivery.traceparent),
        kind=SpanKind.PRODUCER,
        attributes={"acme.delivery.id": str(delivery.id), "acme.delivery.attempt": delivery.attempts},
    )


async def attempt(delivery: Delivery, mailer: ResendMailer, settings: Settings) -> Outcome:
    """Try to send one email, always with the same idempotency key, so that a retry sends no second one."""
    if delivery.expires_at <= datetime.now(UTC):
        return Outcome("expired", error="delivery_expired")
    if not settings.resend_email_enabled:
        return Outcome("skipped", error="email_disabled")
    try:
        email = rendering.render_email(delivery, settings)
        provider_id = await mailer.send(email, idempotency_key=f"acme-delivery-{delivery.id}")
    except PermanentFailure as failure:
        return Outcome("failed", error=str(failure))
    except TemporaryFailure as failure:
        delay = max(deliveries.retry_delay(delivery.attempts), failure.retry_after)
        return Outcome("queued", error=str(failure), retry_in=delay)
    except DecryptionFailed:
        # EVENT_SEALING_KEY differs from auth's; once that is fixed, the email can still be sent.
        return Outcome("queued", error="decryption_failed", retry_in=deliveries.MAX_RETRY_SECONDS)
    return Outcome("sent", provider_id)

"""Workers of billing-webhook: publish and consume events, erase users, delete old rows."""

from collections.abc import Sequence

from servicekit.app import Resources, run_workers
from servicekit.events.relay import Consumer, Handler, OutboxRelay
from servicekit.retention import RetentionWorker
from servicekit.workers.supervisor import Worker

from billing_webhook import erasure
from billing_webhook.entitlements.expiry import ReservationExpiryWorker
from billing_webhook.settings import Settings
from billing_webhook.stripe_events import workers as stripe_events
from billing_webhook.usage import runs

# Each has a consumer group, created before the first event is published.
READERS: tuple[str, ...] = ()

HANDLERS: dict[str, Handler] = {
    "chat.run.completed.v1": runs.record,
    **erasure.HANDLERS,
}


def workers(resources: Resources) -> Sequence[Worker]:
    """List the workers of this service."""
    return [
        OutboxRelay(resources.database, resources.redis, source="billing-webhook", readers=READERS),
        Consumer(
            resources.database,
            resources.redis,
            service="billing-webhook",
            sources=("chat-agent", "auth"),
            handlers=HANDLERS,
        ),
        erasure.create_erasure_worker(resources.database),
        ReservationExpiryWorker(resources.database),
        RetentionWorker(resources.database),
        *stripe_events.create_workers(resources),
    ]


if __name__ == "__main__":
    run_workers("billing-webhook", Settings.load(), workers)

"""Workers of billing-webhook: consume events of runs and of auth, erase users, delete old rows."""

from collections.abc import Sequence

from servicekit.app import Resources, run_workers
from servicekit.events.relay import Consumer, Handler
from servicekit.retention import RetentionWorker
from servicekit.workers.supervisor import Worker

from billing_webhook import erasure, usage
from billing_webhook.settings import Settings

HANDLERS: dict[str, Handler] = {
    "chat.run.completed.v1": usage.record,
    **erasure.HANDLERS,
}


def workers(resources: Resources) -> Sequence[Worker]:
    """List the workers of this service."""
    return [
        Consumer(
            resources.database,
            resources.redis,
            service="billing-webhook",
            sources=("chat-agent", "auth"),
            handlers=HANDLERS,
        ),
        erasure.create_erasure_worker(resources.database),
        RetentionWorker(resources.database),
    ]


if __name__ == "__main__":
    run_workers("billing-webhook", Settings.load(), workers)

"""What billing-webhook does besides answering: it listens to the runs."""

from collections.abc import Sequence

from servicekit.app import Kit, run_workers
from servicekit.housekeeping import Housekeeping
from servicekit.streams import Consumer, Handler
from servicekit.workers import Worker

from billing_webhook import usage
from billing_webhook.settings import Settings

HANDLERS: dict[str, Handler] = {
    "chat.run.completed.v1": usage.record,
}


def workers(kit: Kit) -> Sequence[Worker]:
    """List the workers of this service."""
    return [
        Consumer(
            kit.database, kit.redis, service="billing-webhook", sources=("chat-agent",), handlers=HANDLERS
        ),
        Housekeeping(kit.database),
    ]


if __name__ == "__main__":
    run_workers("billing-webhook", Settings(), workers)

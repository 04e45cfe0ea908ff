"""What billing-webhook does besides answering: it listens to the runs, and to auth."""

from collections.abc import Sequence

from servicekit.app import Kit, run_workers
from servicekit.events.relay import Consumer, Handler
from servicekit.workers.retention import Housekeeping
from servicekit.workers.supervisor import Worker

from billing_webhook import leavers, usage
from billing_webhook.settings import Settings

HANDLERS: dict[str, Handler] = {
    "chat.run.completed.v1": usage.record,
    **leavers.HANDLERS,
}


def workers(kit: Kit) -> Sequence[Worker]:
    """List the workers of this service."""
    return [
        Consumer(
            kit.database,
            kit.redis,
            service="billing-webhook",
            sources=("chat-agent", "auth"),
            handlers=HANDLERS,
        ),
        leavers.Forgetter(kit.database),
        Housekeeping(kit.database),
    ]


if __name__ == "__main__":
    run_workers("billing-webhook", Settings.load(), workers)

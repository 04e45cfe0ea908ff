"""What conversation does besides answering: it listens to auth, and forgets what is kept no longer."""

from collections.abc import Sequence

from servicekit.app import Kit, run_workers
from servicekit.events.relay import Consumer
from servicekit.workers.retention import Housekeeping
from servicekit.workers.supervisor import Worker

from conversation import leavers
from conversation.settings import Settings


def workers(kit: Kit) -> Sequence[Worker]:
    """List the workers of this service."""
    return [
        Consumer(
            kit.database, kit.redis, service="conversation", sources=("auth",), handlers=leavers.HANDLERS
        ),
        Housekeeping(kit.database, rules=leavers.rules()),
    ]


if __name__ == "__main__":
    run_workers("conversation", Settings.load(), workers)

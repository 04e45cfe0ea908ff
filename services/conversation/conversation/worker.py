"""What conversation does besides answering: it listens to auth, and forgets what is kept no longer."""

from collections.abc import Sequence

from servicekit.app import Kit, run_workers
from servicekit.housekeeping import Housekeeping
from servicekit.streams import Consumer, Handler
from servicekit.workers import Worker

from conversation import people, tenants
from conversation.settings import Settings

HANDLERS: dict[str, Handler] = {**tenants.HANDLERS, **people.HANDLERS}


def workers(kit: Kit) -> Sequence[Worker]:
    """List the workers of this service."""
    return [
        Consumer(kit.database, kit.redis, service="conversation", sources=("auth",), handlers=HANDLERS),
        Housekeeping(kit.database, rules=[tenants.of_deleted_tenants(), people.of_leavers()]),
    ]


if __name__ == "__main__":
    run_workers("conversation", Settings(), workers)

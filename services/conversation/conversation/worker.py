"""What conversation does besides answering: it forgets kept answers that nobody will ask for again."""

from collections.abc import Sequence

from servicekit.app import Kit, run_workers
from servicekit.housekeeping import Housekeeping
from servicekit.workers import Worker

from conversation.settings import Settings


def workers(kit: Kit) -> Sequence[Worker]:
    """List the workers of this service."""
    return [Housekeeping(kit.database)]


if __name__ == "__main__":
    run_workers("conversation", Settings(), workers)

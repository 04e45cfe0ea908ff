"""Workers of conversation: consume events of auth, delete what is no longer kept."""

from collections.abc import Sequence

from servicekit.app import Resources, run_workers
from servicekit.events.relay import Consumer
from servicekit.retention import RetentionWorker
from servicekit.workers.supervisor import Worker

from conversation import end_users, erasure
from conversation.settings import Settings


def workers(resources: Resources) -> Sequence[Worker]:
    """List the workers of this service."""
    return [
        Consumer(
            resources.database,
            resources.redis,
            service="conversation",
            sources=("auth",),
            handlers=erasure.HANDLERS,
        ),
        RetentionWorker(resources.database, rules=[*erasure.retention_rules(), end_users.retention_rule()]),
    ]


if __name__ == "__main__":
    run_workers("conversation", Settings.load(), workers)

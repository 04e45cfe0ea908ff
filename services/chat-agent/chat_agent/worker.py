"""What the chat-agent does besides answering."""

from datetime import timedelta

from servicekit.app import Kit, run_workers
from servicekit.events.relay import Consumer, Relay
from servicekit.workers.retention import Housekeeping, Rule
from servicekit.workers.supervisor import Worker
from sqlalchemy import func

from chat_agent.events import READERS
from chat_agent.forgetting import Forgetter, of_deleted_tenants
from chat_agent.leavers import HANDLERS
from chat_agent.models import Base, Run
from chat_agent.settings import Settings


def workers(kit: Kit) -> list[Worker]:
    """Tell the others of what is committed, hear of who has left, and tidy up."""
    settings = Settings.of(kit)
    return [
        Relay(kit.database, kit.redis, source=kit.name, readers=READERS),
        Consumer(kit.database, kit.redis, service=kit.name, sources=("auth",), handlers=HANDLERS),
        Forgetter(kit.database, kit.redis, settings),
        Housekeeping(kit.database, rules=[old_runs(settings), of_deleted_tenants()]),
    ]


def old_runs(settings: Settings) -> Rule:
    """Say which runs are kept no longer."""
    return Base.metadata.tables["runs"], Run.ended_at < func.now() - timedelta(
        days=settings.run_retention_days
    )


if __name__ == "__main__":
    run_workers("chat-agent", Settings.load(), workers)

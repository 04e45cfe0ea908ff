"""What the chat-agent does besides answering."""

from datetime import timedelta

from servicekit.app import Kit, run_workers
from servicekit.housekeeping import Housekeeping, Rule
from servicekit.streams import Relay
from servicekit.workers import Worker
from sqlalchemy import func

from chat_agent.events import READERS
from chat_agent.models import Base, Run
from chat_agent.settings import Settings


def workers(kit: Kit) -> list[Worker]:
    """Tell the others of what is committed, and tidy up."""
    return [
        Relay(kit.database, kit.redis, source=kit.name, readers=READERS),
        Housekeeping(kit.database, rules=[old_runs(Settings.of(kit))]),
    ]


def old_runs(settings: Settings) -> Rule:
    """Say which runs are kept no longer."""
    return Base.metadata.tables["runs"], Run.ended_at < func.now() - timedelta(
        days=settings.run_retention_days
    )


if __name__ == "__main__":
    run_workers("chat-agent", Settings(), workers)

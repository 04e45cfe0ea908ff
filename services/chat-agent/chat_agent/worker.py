"""What the chat-agent does besides answering."""

from servicekit.app import Kit, run_workers
from servicekit.housekeeping import Housekeeping
from servicekit.streams import Relay
from servicekit.workers import Worker

from chat_agent.events import READERS
from chat_agent.settings import Settings


def workers(kit: Kit) -> list[Worker]:
    """Tell the others of what is committed, and tidy up."""
    return [Relay(kit.database, kit.redis, source=kit.name, readers=READERS), Housekeeping(kit.database)]


if __name__ == "__main__":
    run_workers("chat-agent", Settings(), workers)

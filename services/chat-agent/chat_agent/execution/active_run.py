"""A run that is worked on in this process."""

import asyncio
from dataclasses import dataclass, field

from chat_agent.clients.conversation import Conversations
from chat_agent.event_log.buffer import RunLog
from chat_agent.event_log.translator import Narrator
from chat_agent.execution.session import ConversationSession
from chat_agent.model.usage import UsageMeter
from chat_agent.models import Run
from chat_agent.runs.outcome import Outcome
from chat_agent.runs.tool_calls import Journal


@dataclass
class Live:
    """A run, and all that working on it needs."""

    run: Run
    log: RunLog
    narrator: Narrator
    meter: UsageMeter
    conversations: Conversations
    session: ConversationSession
    journal: Journal
    # Nothing was said before, and nobody else can know of it yet.
    begins_conversation: bool = False
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    # From here on it is a matter of moments: it is better to end it than to hand it over.
    is_ending: bool = False
    task: asyncio.Task[None] | None = None

    def stop(self, how: str) -> None:
        """Tell the run to end: cancel, interrupt or rollback."""
        self.run.stop = self.run.stop or how
        self.stopping.set()

    def outcome(
        self, status: str, output: str | None, code: str | None = None, detail: str | None = None
    ) -> Outcome:
        """Say how it ended, with what is known by now."""
        narrator = self.narrator
        return Outcome(
            status, narrator.agent.name, narrator.handoffs, output, self.meter.total(), code, detail
        )

"""A run that is worked on in this process."""

import asyncio
from dataclasses import dataclass, field

from chat_agent.clients.conversation import ConversationClient
from chat_agent.event_log.buffer import EventBuffer
from chat_agent.event_log.translator import EventTranslator
from chat_agent.execution.session import ConversationSession
from chat_agent.model.usage import UsageMeter
from chat_agent.models import Run
from chat_agent.runs.outcome import Outcome
from chat_agent.runs.tool_calls import ToolCallJournal


@dataclass
class ActiveRun:
    """A run, and all that working on it needs."""

    run: Run
    log: EventBuffer
    translator: EventTranslator
    meter: UsageMeter
    conversations: ConversationClient
    session: ConversationSession
    journal: ToolCallJournal
    # Nothing was said before, and nobody else can know of it yet.
    is_new_conversation: bool = False
    stop_requested: asyncio.Event = field(default_factory=asyncio.Event)
    # From here on it is a matter of moments: it is better to end it than to hand it over.
    is_ending: bool = False
    task: asyncio.Task[None] | None = None

    def stop(self, mode: str) -> None:
        """Tell the run to end: cancel, interrupt or rollback."""
        self.run.stop = self.run.stop or mode
        self.stop_requested.set()

    def outcome(
        self, status: str, output: str | None, code: str | None = None, detail: str | None = None
    ) -> Outcome:
        """Say how it ended, with what is known by now."""
        translator = self.translator
        return Outcome(
            status, translator.agent.name, translator.handoffs, output, self.meter.total(), code, detail
        )

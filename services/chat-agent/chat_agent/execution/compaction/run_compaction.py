"""What a run has to do with compaction: whether it reads a summary, and whether one is due at its end."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.agent_definitions.selection import AgentSelection
from chat_agent.compaction.policy import CompactionPolicy
from chat_agent.event_log.buffer import EventBuffer
from chat_agent.event_log.store import EventType
from chat_agent.execution.compaction import store
from chat_agent.execution.services import RunServices
from chat_agent.execution.session import ConversationSession
from chat_agent.model.usage import UsageMeter
from chat_agent.models import Run


@dataclass(frozen=True)
class RunCompaction:
    """The compaction of a run's conversation."""

    policy: CompactionPolicy
    run: Run
    session: ConversationSession
    meter: UsageMeter
    services: RunServices

    def publish(self, log: EventBuffer) -> None:
        """Publish that the run is the first to read a summary."""
        if (summary := self.session.new_summary) is not None:
            log.append(EventType.HISTORY_COMPACTED, summary_id=summary.id)

    def is_due(self) -> bool:
        """Return whether the history is long: by the last call of a model, and by the items."""
        if self.session.item_count >= self.policy.share * self.services.settings.history_items:
            return True
        if (call := self.meter.last_call) is None:
            return False
        length = self.services.catalogue.context_length(call.model)
        return length is not None and call.tokens >= self.policy.share * length

    async def add(self, session: AsyncSession) -> None:
        """Request a summary."""
        await store.add(session, self.run)


def policy_of(run: Run, selection: AgentSelection) -> CompactionPolicy | None:
    """Return when a run's conversation is summarized; none where it is not, or does not last."""
    if run.persistence != "permanent" or selection.first is None:
        return None
    return selection.first.compaction

"""What a run has to do with compaction: whether it reads a summary, and whether one is due at its end."""

from collections.abc import Mapping
from dataclasses import dataclass

from agents import Agent
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.agents.acme_agent import AcmeAgent
from chat_agent.agents.tool import RunContext
from chat_agent.compaction.policy import CompactionPolicy
from chat_agent.event_log.buffer import EventBuffer
from chat_agent.event_log.store import EventType
from chat_agent.execution.compaction import store
from chat_agent.execution.services import RunServices
from chat_agent.execution.session import ConversationSession
from chat_agent.model.usage import UsageMeter
from chat_agent.models import Run
from chat_agent.settings import Settings


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
        call = self.meter.last_call
        return call is not None and self.policy.is_due(
            call.tokens, self.services.catalogue.context_length(call.model)
        )

    async def add(self, session: AsyncSession) -> None:
        """Request a summary."""
        await store.add(session, self.run)


def policy_of(
    run: Run, agents: Mapping[str, Agent[RunContext]], settings: Settings
) -> CompactionPolicy | None:
    """Return when a run's conversation is summarized; none where it is not, or does not last."""
    agent = agents.get(run.agent)
    # A direct model has no version: it reads what it is sent.
    if run.persistence != "permanent" or agent is None or not run.agent_versions:
        return None
    own = agent.compaction if isinstance(agent, AcmeAgent) else None
    if own is None and settings.compaction_tokens is not None:
        return CompactionPolicy(tokens=settings.compaction_tokens)
    return own

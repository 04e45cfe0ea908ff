"""The memories of a run: recalled once for each agent that reads them, and never stored with what is said.

What a person deletes or corrects meanwhile is left out of the next calls of models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from servicekit.database import Database
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.clients.retry import retry_transaction
from chat_agent.event_log.buffer import EventBuffer
from chat_agent.event_log.store import EventType
from chat_agent.memory import notes, recall
from chat_agent.memory.embedder import Embedder
from chat_agent.memory.grounding import is_grounded
from chat_agent.memory.recall import Recalled
from chat_agent.memory.schemas import Kind, NewMemory
from chat_agent.memory.similar import by_vectors, fused
from chat_agent.memory.store import Owner
from chat_agent.memory.use import MemoryUse
from chat_agent.models import Run


@dataclass
class RunMemory:
    """What the agents of a run recall of its person, and note."""

    database: Database
    run: Run
    log: EventBuffer
    # By the name of the agent.
    uses: Mapping[str, MemoryUse]
    # Without one, memories are recalled by words alone.
    embedder: Embedder | None = None
    # By the agent whose memories they are; none for those that agents share.
    _recalled: dict[str | None, list[Recalled]] = field(default_factory=dict)

    @property
    def owner(self) -> Owner:
        """Whose memories they are."""
        return Owner(self.run.tenant_id, self.run.user_id)

    async def fill(self, items: Sequence[Any], agent: str) -> Sequence[Any]:
        """Return the input of a model with the memories that fit the run's message, where the agent reads."""
        use = self.uses.get(agent)
        if use is None or not use.read:
            return items
        whose = use.owner(agent)
        if whose in self._recalled:
            self._recalled[whose] = await self._recall_again(whose)
        else:
            self._recalled[whose] = await self._recall(whose)
            if memories := [one.payload() for one in self._recalled[whose]]:
                self.log.append(EventType.MEMORY_RECALLED, agent=agent, memories=memories)
        return recall.with_memories(items, self._recalled[whose])

    async def note(self, agent: str, kind: Kind, text: str, replaced: UUID | None) -> None:
        """Store what the person said, and publish it; raises ValidationError, TooManyMemories, Superseded."""
        new = NewMemory(text=text, kind=kind, agent=self.uses[agent].owner(agent))
        noted = await retry_transaction(self.database, notes.add, self.run, new, replaced)
        memory = Recalled(noted.memory.id, noted.memory.kind, noted.memory.text).payload()
        supersedes = {"supersedes": str(noted.supersedes)} if noted.supersedes else {}
        self.log.append(EventType.MEMORY_NOTED, agent=agent, memory=memory, **supersedes)

    def is_grounded(self, text: str) -> bool:
        """Return whether a text rests on what the person says in the run's message."""
        return is_grounded(text, self.run.message)

    async def _recall(self, agent: str | None) -> list[Recalled]:
        among, message = recall.current(self.owner, agent), self.run.message
        near = await by_vectors(self.database, self.embedder, among, message) if self.embedder else []

        async def load(session: AsyncSession) -> list[Recalled]:
            memories = recall.fitting(fused(await recall.by_words(session, among, message), near))
            if memories:
                await recall.mark_used(session, memories)
            return memories

        return await retry_transaction(self.database, load)

    async def _recall_again(self, agent: str | None) -> list[Recalled]:
        memories = self._recalled[agent]
        if not memories:
            return memories
        among = recall.current(self.owner, agent)
        return await retry_transaction(self.database, recall.still_current, among, memories)


def memory_of(
    database: Database,
    run: Run,
    log: EventBuffer,
    uses: Mapping[str, MemoryUse],
    embedder: Embedder | None,
) -> RunMemory | None:
    """Return what a run recalls and notes; nothing where no agent does, or what is said is not stored."""
    if not any(use.is_used for use in uses.values()) or run.persistence != "permanent":
        return None
    return RunMemory(database, run, log, uses, embedder)

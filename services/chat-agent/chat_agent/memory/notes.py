"""What agents note of a person."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.memory import store
from chat_agent.memory.recall import current
from chat_agent.memory.schemas import NewMemory
from chat_agent.memory.store import Owner
from chat_agent.memory.tables import Memory
from chat_agent.models import Run


class Noted(NamedTuple):
    """A note, and which memory it supersedes."""

    memory: Memory
    supersedes: UUID | None = None


async def add(session: AsyncSession, run: Run, new: NewMemory, replaced: UUID | None) -> Noted:
    """Store a note in place of another, if that exists; again, it changes nothing. Raises TooManyMemories."""
    owner = Owner(run.tenant_id, run.user_id)
    await store.lock(session, owner)
    mine = select(Memory).where(current(owner, new.agent))
    same = (await session.scalars(mine.where(Memory.text == new.text).limit(1))).one_or_none()
    if same is not None:
        return Noted(same)
    values = {**new.model_dump(), "source_run": run.id, "source_conversation": run.conversation_id}
    memory = await store.insert(session, owner, **values)
    old = (await session.scalars(mine.where(Memory.id == replaced))).one_or_none() if replaced else None
    if old is None:
        return Noted(memory)
    old.superseded_by = memory.id
    return Noted(memory, old.id)

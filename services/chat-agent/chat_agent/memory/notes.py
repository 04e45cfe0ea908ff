"""What agents note of a person."""

from typing import NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.errors import Superseded, ToolFailed
from chat_agent.event_log.translator import redact
from chat_agent.memory import store
from chat_agent.memory.recall import current
from chat_agent.memory.schemas import NewMemory
from chat_agent.memory.store import Owner
from chat_agent.memory.tables import Memory
from chat_agent.models import Run, ToolCall
from chat_agent.runs.leases import owned

# The name of the tool that notes.
TOOL = "remember"
NOTED_BEFORE = "Not noted: it was noted in this run before, and has been deleted or corrected since."


class Noted(NamedTuple):
    """A note, and which memory it supersedes."""

    memory: Memory
    supersedes: UUID | None = None


async def add(session: AsyncSession, run: Run, new: NewMemory, replaced: UUID | None) -> Noted:
    """Store a note in place of another, if that exists; again, it changes nothing.

    Raises TooManyMemories, ToolFailed where the run has noted it before and it is not right any more, and
    Superseded where another process has the run, or it has ended: what a person has deleted stays deleted.
    """
    owner = Owner(run.tenant_id, run.user_id)
    await store.lock(session, owner)
    if await session.scalar(select(Run.id).where(owned(run)).with_for_update(read=True)) is None:
        raise Superseded
    mine = select(Memory).where(current(owner, new.agent))
    same = (await session.scalars(mine.where(Memory.text == new.text).limit(1))).one_or_none()
    if same is not None:
        return Noted(same)
    if await was_noted(session, run, new.text):
        raise ToolFailed(NOTED_BEFORE)
    is_old = mine.where(Memory.id == replaced).with_for_update()
    old = (await session.scalars(is_old)).one_or_none() if replaced else None
    values = {**new.model_dump(), "source_run": run.id, "source_conversation": run.conversation_id}
    memory = await store.insert(session, owner, **values)
    if old is None:
        return Noted(memory)
    old.superseded_by = memory.id
    return Noted(memory, old.id)


async def was_noted(session: AsyncSession, run: Run, text: str) -> bool:
    """Return whether a run has noted a text before, also in an attempt that was lost."""
    calls = select(ToolCall.arguments).where(
        ToolCall.run_id == run.id, ToolCall.name == TOOL, ToolCall.status == "completed"
    )
    return any(text_in(arguments) == redact(text) for arguments in await session.scalars(calls))


def text_in(arguments: str) -> str:
    """Return which text was noted, as far as its masked arguments can be read."""
    try:
        return redact(orjson.loads(arguments)["text"].strip())
    except orjson.JSONDecodeError:
        return ""

"""The routes of a person's memories."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, status
from servicekit.auth.dependencies import require
from servicekit.auth.tokens import Principal
from servicekit.database import Session
from servicekit.schemas import Page

from chat_agent.api.dependencies import ManagerDep, Reader, Writer
from chat_agent.api.run_request import recorded_refusals
from chat_agent.execution.manager import RunManager
from chat_agent.memory import store
from chat_agent.memory.schemas import MemoryCorrection, MemoryPage, NewMemory, StoredMemory
from chat_agent.memory.store import Owner

Deleter = Annotated[Principal, require("conversations:delete")]

router = APIRouter(prefix="/api/v1/memories", tags=["memories"])


@router.get("")
async def list_memories(
    query: Annotated[MemoryPage, Query()], caller: Reader, session: Session
) -> Page[StoredMemory]:
    """List what agents may know of you, the newest first, and in which run each was noted."""
    return await store.list_memories(session, Owner.of(caller), query)


@router.post("", status_code=status.HTTP_201_CREATED)
async def add_memory(new: NewMemory, caller: Writer, session: Session, manager: ManagerDep) -> StoredMemory:
    """Add what agents should know of you."""
    new = new.model_copy(update={"text": await mask_text(manager, caller, new.text)})
    return StoredMemory.model_validate(await store.add(session, Owner.of(caller), new))


@router.patch("/{memory_id}")
async def correct_memory(
    memory_id: UUID, correction: MemoryCorrection, caller: Writer, session: Session, manager: ManagerDep
) -> StoredMemory:
    """Correct a memory: a new one supersedes it."""
    if correction.text is not None:
        text = await mask_text(manager, caller, correction.text)
        correction = correction.model_copy(update={"text": text})
    memory = await store.correct(session, Owner.of(caller), memory_id, correction)
    return StoredMemory.model_validate(memory)


@router.delete("/{memory_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_memory(memory_id: UUID, caller: Deleter, session: Session) -> None:
    """Delete a memory, with those that it superseded."""
    await store.remove(session, Owner.of(caller), memory_id)


@router.delete("", status_code=status.HTTP_204_NO_CONTENT)
async def delete_all_memories(caller: Deleter, session: Session) -> None:
    """Delete all that agents know of you."""
    await store.remove_all(session, Owner.of(caller))


async def mask_text(manager: RunManager, caller: Principal, text: str) -> str:
    """Return a text with the masks of the service's guardrails; raises GuardrailTriggered, which is recorded.

    Models read memories as they read messages.
    """
    async with recorded_refusals(manager, caller):
        return await manager.guard.text(text)

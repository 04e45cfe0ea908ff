"""Deletes and exports the memories of people, end users and tenants."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from servicekit import erasure
from servicekit.database import Database
from servicekit.erasure import deleted_users
from servicekit.retention import RetentionRule
from sqlalchemy import delete, exists, func
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.memory import store
from chat_agent.memory.schemas import StoredMemory
from chat_agent.memory.store import Owner
from chat_agent.memory.tables import Memory
from chat_agent.models import Base

PAGE_SIZE = 100
HAS_MEMORIES = exists().where(Memory.user_id == deleted_users.c.user_id)


async def delete_of_users(session: AsyncSession, user_ids: Sequence[str]) -> None:
    """Delete the memories of people, in all tenants."""
    await session.execute(delete(Memory).where(Memory.user_id.in_(user_ids)))


async def export(database: Database, owner: Owner) -> AsyncIterator[dict[str, Any]]:
    """Yield the memories of an owner, also superseded ones."""
    after = None
    while True:
        async with database.begin() as session:
            rows = await store.page_after(session, owner, after, PAGE_SIZE)
            memories = [StoredMemory.model_validate(row) for row in rows]
        for memory in memories:
            yield {"type": "memory", **memory.model_dump(mode="json")}
        if len(memories) < PAGE_SIZE:
            return
        after = memories[-1].id


def memory_rules() -> list[RetentionRule]:
    """Return which memories are deleted when their time is over."""
    memories = Base.metadata.tables["memories"]
    return [
        (memories, Memory.expires_at < func.now()),
        (memories, Memory.tenant_id.in_(erasure.purgeable_tenants())),
    ]

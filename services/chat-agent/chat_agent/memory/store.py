"""The memories of a person, of an application, or of its end user."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from servicekit.auth.tokens import Principal
from servicekit.schemas import Page
from sqlalchemy import ColumnElement, and_, delete, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.memory.errors import MemoryNotFound, MemorySuperseded, TooManyMemories
from chat_agent.memory.schemas import MemoryCorrection, MemoryPage, NewMemory, StoredMemory
from chat_agent.memory.tables import Memory
from chat_agent.runs.queries import next_cursor, parse_cursor

# Of one person, also superseded ones.
MAX_MEMORIES = 1000


@dataclass(frozen=True)
class Owner:
    """Whose memories they are."""

    tenant_id: UUID
    user_id: str

    @classmethod
    def of(cls, caller: Principal) -> "Owner":
        """Return the caller, or the end user that it acts for."""
        assert caller.tenant_id  # noqa: S101  # routes refuse tokens without one
        return cls(caller.tenant_id, caller.user_id)

    @property
    def memories(self) -> ColumnElement[bool]:
        """The condition that a memory is theirs, whether or not it has expired."""
        return and_(Memory.tenant_id == self.tenant_id, Memory.user_id == self.user_id)

    @property
    def unexpired(self) -> ColumnElement[bool]:
        """The condition that a memory is theirs and has not expired."""
        return and_(self.memories, or_(Memory.expires_at.is_(None), Memory.expires_at > func.now()))


async def list_memories(session: AsyncSession, owner: Owner, query: MemoryPage) -> Page[StoredMemory]:
    """List memories, the newest first; raises InvalidCursor."""
    order = (Memory.created_at, Memory.id)
    statement = select(Memory).where(owner.unexpired).order_by(*(column.desc() for column in order))
    if not query.include_superseded:
        statement = statement.where(Memory.superseded_by.is_(None))
    if query.kind is not None:
        statement = statement.where(Memory.kind == query.kind)
    if query.cursor is not None:
        statement = statement.where(tuple_(*order) < tuple_(*parse_cursor(query.cursor)))
    rows = (await session.scalars(statement.limit(query.limit + 1))).all()
    items = [StoredMemory.model_validate(row) for row in rows[: query.limit]]
    return Page(items=items, next_cursor=next_cursor([(row.created_at, row.id) for row in rows], query.limit))


async def add(session: AsyncSession, owner: Owner, new: NewMemory) -> Memory:
    """Store what a person has written, in place of the same with other members; raises TooManyMemories."""
    await lock(session, owner)
    old = await find_same(session, owner, new)
    if old is not None and (old.kind, old.expires_at) == (new.kind, new.expires_at):
        return old
    memory = await insert(session, owner, **new.model_dump())
    if old is not None:
        old.superseded_by = memory.id
    return memory


async def find_same(session: AsyncSession, owner: Owner, new: NewMemory) -> Memory | None:
    """Return the newest memory that says the same to the same agent, and that nothing has superseded."""
    is_same = (func.lower(Memory.text) == func.lower(new.text), Memory.agent.is_not_distinct_from(new.agent))
    query = select(Memory).where(owner.unexpired, Memory.superseded_by.is_(None), *is_same)
    newest = query.order_by(Memory.created_at.desc()).limit(1).with_for_update()
    return (await session.scalars(newest)).one_or_none()


async def correct(session: AsyncSession, owner: Owner, id: UUID, correction: MemoryCorrection) -> Memory:
    """Store a memory that supersedes another; raises MemoryNotFound, MemorySuperseded, TooManyMemories."""
    await lock(session, owner)
    old = await find_current(session, owner, id)
    unchanged = {"text": old.text, "kind": old.kind, "agent": old.agent, "expires_at": old.expires_at}
    new = await insert(session, owner, **{**unchanged, **correction.model_dump(exclude_none=True)})
    old.superseded_by = new.id
    return new


async def insert(session: AsyncSession, owner: Owner, **values: Any) -> Memory:
    """Insert a memory; raises TooManyMemories."""
    await lock(session, owner)
    count = await session.scalar(select(func.count()).select_from(Memory).where(owner.memories))
    if count is not None and count >= MAX_MEMORIES:
        raise TooManyMemories
    memory = Memory(id=uuid4(), tenant_id=owner.tenant_id, user_id=owner.user_id, **values)
    session.add(memory)
    await session.flush()
    return memory


async def lock(session: AsyncSession, owner: Owner) -> None:
    """Lock against other changes of a person's memories until the transaction ends."""
    key = f"memories {owner.tenant_id} {owner.user_id}"
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(key, 0))))


async def find_current(session: AsyncSession, owner: Owner, id: UUID) -> Memory:
    """Return a memory that nothing has superseded, locked; raises MemoryNotFound, MemorySuperseded."""
    query = select(Memory).where(owner.unexpired, Memory.id == id).with_for_update()
    memory = (await session.scalars(query)).one_or_none()
    if memory is None:
        raise MemoryNotFound
    if memory.superseded_by is not None:
        raise MemorySuperseded
    return memory


async def remove(session: AsyncSession, owner: Owner, id: UUID) -> None:
    """Delete a memory with those that it superseded; raises MemoryNotFound."""
    await lock(session, owner)
    deleted = delete(Memory).where(owner.memories, Memory.id == id).returning(Memory.id)
    if (await session.scalars(deleted)).one_or_none() is None:
        raise MemoryNotFound


async def remove_all(session: AsyncSession, owner: Owner) -> None:
    """Delete all memories of a person."""
    await lock(session, owner)
    await session.execute(delete(Memory).where(owner.memories))


async def page_after(session: AsyncSession, owner: Owner, after: UUID | None, limit: int) -> Sequence[Memory]:
    """Return memories in the order of their ids, also superseded ones."""
    query = select(Memory).where(owner.memories).order_by(Memory.id).limit(limit)
    return (await session.scalars(query if after is None else query.where(Memory.id > after))).all()

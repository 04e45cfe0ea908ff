"""The rows of conversations whose history is to be summarized."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, and_, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.compaction.tables import Compaction
from chat_agent.models import Run

MAX_ATTEMPTS = 3
# Longer than an attempt takes: after it, another process takes over what was lost.
LEASE = timedelta(minutes=5)
BACKOFF = timedelta(seconds=30)


async def add(session: AsyncSession, run: Run) -> None:
    """Request a summary of a run's conversation, after the one that is being written if there is one."""
    row = insert(Compaction).values(id=uuid4(), conversation_id=run.conversation_id, run_id=run.id)
    requested = row.on_conflict_do_update(
        index_elements=[Compaction.conversation_id], set_={"run_id": run.id}
    )
    await session.execute(requested)


async def claim(session: AsyncSession, most: int) -> Sequence[Compaction]:
    """Claim the next that are due, for as long as an attempt may take."""
    due = select(Compaction.id).where(Compaction.due_at <= func.now()).order_by(Compaction.due_at)
    ids = (await session.scalars(due.limit(most).with_for_update(skip_locked=True))).all()
    if not ids:
        return []
    claimed = update(Compaction).where(Compaction.id.in_(ids)).returning(Compaction)
    values = {"attempt": Compaction.attempt + 1, "due_at": func.now() + LEASE}
    return (await session.scalars(claimed.values(values))).all()


def own(compaction: Compaction) -> ColumnElement[bool]:
    """Return the condition that no other process has begun another attempt."""
    return and_(Compaction.id == compaction.id, Compaction.attempt == compaction.attempt)


async def store_summary(
    session: AsyncSession, compaction: Compaction, summary: dict[str, Any] | None
) -> bool:
    """Store what an attempt has written, if anything; return whether the attempt still counts."""
    row = update(Compaction).where(own(compaction)).values(summary=summary)
    return await session.scalar(row.returning(Compaction.id)) is not None


async def retry_later(session: AsyncSession, compaction: Compaction) -> None:
    """Try again some time after a failure, unless it was the last attempt."""
    if compaction.attempt >= MAX_ATTEMPTS:
        await session.execute(delete(Compaction).where(own(compaction)))
        return
    due_at = func.now() + BACKOFF * 4 ** (compaction.attempt - 1)
    await session.execute(update(Compaction).where(own(compaction)).values(due_at=due_at))


async def remove(session: AsyncSession, compaction: Compaction) -> None:
    """Delete one whose summary is stored. A run that ended meanwhile has read what there was before it."""
    await session.execute(delete(Compaction).where(own(compaction)))


async def remove_unused(session: AsyncSession, compaction: Compaction) -> None:
    """Delete one that is of no use; begin another where a later run has requested it."""
    done = delete(Compaction).where(own(compaction), Compaction.run_id == compaction.run_id)
    if await session.scalar(done.returning(Compaction.id)) is None:
        again = {"id": uuid4(), "attempt": 0, "due_at": func.now(), "summary": None}
        await session.execute(update(Compaction).where(own(compaction)).values(again))


async def delete_of_runs(session: AsyncSession, run_ids: Sequence[UUID]) -> None:
    """Delete those of runs that are erased, with what was written of them."""
    await session.execute(delete(Compaction).where(Compaction.run_id.in_(run_ids)))

"""Runs whose turns an edit or a regeneration has superseded, as their items are."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.models import Run


async def mark(session: AsyncSession, run: Run, superseded_ids: Collection[UUID]) -> None:
    """Mark runs of the same conversation as superseded by a run."""
    others = update(Run).where(Run.conversation_id == run.conversation_id, Run.id.in_(superseded_ids))
    await session.execute(others.where(Run.superseded_by.is_(None)).values(superseded_by=run.id))


async def unmark(session: AsyncSession, run: Run) -> None:
    """Make the runs current again that a run had superseded whose turn is deleted."""
    others = update(Run).where(Run.conversation_id == run.conversation_id, Run.superseded_by == run.id)
    await session.execute(others.values(superseded_by=None))

"""Runs whose turns an edit or a regeneration has superseded, as their items are."""

from collections.abc import Collection
from uuid import UUID

from servicekit.database import Database
from sqlalchemy import update

from chat_agent.models import Run


async def mark(database: Database, run: Run, superseded_ids: Collection[UUID]) -> None:
    """Mark runs of the same conversation as superseded by a run."""
    others = update(Run).where(Run.conversation_id == run.conversation_id, Run.id.in_(superseded_ids))
    async with database.begin() as session:
        await session.execute(others.where(Run.superseded_by.is_(None)).values(superseded_by=run.id))


async def unmark(database: Database, run: Run) -> None:
    """Make the runs current again that a run had superseded whose turn is deleted."""
    others = update(Run).where(Run.conversation_id == run.conversation_id, Run.superseded_by == run.id)
    async with database.begin() as session:
        await session.execute(others.values(superseded_by=None))

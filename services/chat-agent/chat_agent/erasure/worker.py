"""Erases the runs of deleted users; their usage stays in the tenant's totals, under an anonymous subject.

This repeats for a while, so that a run that started at the moment of deletion is erased as well.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from servicekit import erasure, erasure_worker
from servicekit.database import Database
from servicekit.erasure import ANONYMOUS_SUBJECT, deleted_users
from servicekit.erasure_worker import ErasureRule, ErasureWorker
from servicekit.retention import RetentionRule
from sqlalchemy import ColumnElement, delete, exists, or_, select, update

from chat_agent.attachments import files
from chat_agent.attachments.tables import StoredFile
from chat_agent.erasure.handlers import stop_runs
from chat_agent.event_log.store import EventStore
from chat_agent.execution.compaction import store as compactions
from chat_agent.memory import erasure as memories
from chat_agent.models import FINISHED, Approval, Attachment, Base, Feedback, Run, ToolCall
from chat_agent.settings import Settings

# The values of a run without its content and its user.
ERASED_VALUES: dict[str, Any] = {
    "user_id": ANONYMOUS_SUBJECT,
    "message": "",
    "content": [],
    "prelude": [],
    "idempotency_key": None,
    "state": None,
    "options": {},
    "tool_outputs": [],
    "tool_calls": [],
    "definition": None,
    "output": None,
    "error_detail": None,
    "trace_id": None,
}
# Longer than any token of a deleted user is valid.
GRACE_PERIOD = timedelta(hours=1)
HAS_ROWS = or_(
    exists().where(Run.user_id == deleted_users.c.user_id),
    exists().where(StoredFile.user_id == deleted_users.c.user_id),
    memories.HAS_MEMORIES,
)


def create_erasure_worker(database: Database, redis: Redis, settings: Settings) -> ErasureWorker:
    """Return the worker that erases the runs and memories of deleted users."""
    rule = ErasureRule(
        erasure.pending_erasures(),
        HAS_ROWS,
        partial(erase_users, database, redis, settings.run_log_ttl_seconds),
        lambda db: erasure.mark_erased(db, HAS_ROWS, GRACE_PERIOD),
    )
    return ErasureWorker(database, [rule])


async def erase_users(database: Database, redis: Redis, log_seconds: int, user_ids: Sequence[str]) -> int:
    """Stop the open runs of users, erase a batch of the finished ones, and return their number.

    Their files and memories are deleted at once: a run that goes on until it is stopped may add another.
    """
    async with database.begin() as db:
        await files.remove_all(db, StoredFile.user_id.in_(user_ids))
        await stop_runs(db, Run.user_id.in_(user_ids))
        await memories.delete_of_users(db, user_ids)
    return await erase_finished(database, redis, log_seconds, Run.user_id.in_(user_ids))


async def erase_finished(
    database: Database, redis: Redis, log_seconds: int, condition: ColumnElement[bool]
) -> int:
    """Erase a batch of finished runs, and return their number."""
    async with database.begin() as db:
        finished = select(Run.id).where(condition, Run.status.in_(FINISHED))
        run_ids = (await db.scalars(finished.limit(erasure_worker.BATCH_SIZE))).all()
    if run_ids:
        await erase_runs(database, redis, log_seconds, run_ids)
    return len(run_ids)


async def erase_runs(database: Database, redis: Redis, log_seconds: int, run_ids: Sequence[UUID]) -> None:
    """Erase runs, except their usage."""
    for run_id in run_ids:
        await EventStore(redis, run_id).delete(log_seconds)
    async with database.begin() as db:
        await db.execute(delete(Approval).where(Approval.run_id.in_(run_ids)))
        await db.execute(delete(ToolCall).where(ToolCall.run_id.in_(run_ids)))
        await db.execute(delete(Attachment).where(Attachment.run_id.in_(run_ids)))
        await compactions.delete_of_runs(db, run_ids)
        await db.execute(delete(Feedback).where(Feedback.run_id.in_(run_ids)))
        await db.execute(update(Run).where(Run.id.in_(run_ids)).values(ERASED_VALUES))


def deleted_tenants_rules() -> list[RetentionRule]:
    """Return the rules that delete a purged tenant's runs and files; logs of runs expire by themselves."""
    runs, stored_files = Base.metadata.tables["runs"], Base.metadata.tables["files"]
    return [
        (runs, Run.tenant_id.in_(erasure.purgeable_tenants()) & Run.ended_at.is_not(None)),
        (stored_files, StoredFile.tenant_id.in_(erasure.purgeable_tenants())),
    ]

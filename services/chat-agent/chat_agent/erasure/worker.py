"""Forgets the runs of who has left for good; what they used stays, for the tenant's sums, as nobody's.

Again and again for a while, so that a run that began at the very moment of leaving is forgotten as well.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from servicekit import erasure
from servicekit.database import Database
from servicekit.erasure import ANONYMOUS_SUBJECT, deleted_users
from servicekit.retention import RetentionRule
from servicekit.workers.base import LoopWorker
from sqlalchemy import delete, exists, select, update

from chat_agent.erasure.handlers import stop_runs
from chat_agent.event_log.store import EventStore
from chat_agent.models import FINISHED, Approval, Base, Run, ToolCall
from chat_agent.settings import Settings

# What a run is without what was said in it, and without whose it was.
ERASED_VALUES: dict[str, Any] = {
    "user_id": ANONYMOUS_SUBJECT,
    "message": "",
    "prelude": [],
    "idempotency_key": None,
    "state": None,
    "output": None,
    "error_detail": None,
    "trace_id": None,
}
# Longer than any token of theirs is good for.
GRACE_PERIOD = timedelta(hours=1)
HAS_RUNS = exists().where(Run.user_id == deleted_users.c.user_id)
BATCH = 200
PAUSE_SECONDS = 2.0


class ErasureWorker(LoopWorker):
    """Forgets, in small batches; a Worker. Several replicas may do so at once."""

    def __init__(self, database: Database, redis: Redis, settings: Settings) -> None:
        super().__init__("forgetting")
        self._database = database
        self._redis = redis
        self._log_seconds = settings.run_log_ttl_seconds

    async def begin(self) -> None:
        """Make sure that the database answers."""
        await self._database.ping()

    async def step(self) -> float:
        """Stop what began late, and forget what is over."""
        if run_ids := await self._finished_runs():
            await self._erase(run_ids)
        return 0 if len(run_ids) == BATCH else PAUSE_SECONDS

    async def _finished_runs(self) -> Sequence[UUID]:
        """List some runs that are over, of those who have left; what is not over is stopped."""
        async with self._database.begin() as session:
            if await session.scalar(erasure.pending_erasures().limit(1)) is None:
                return []
            # Of few people at a time, and so by index.
            users = (await session.scalars(erasure.pending_erasures().where(HAS_RUNS).limit(BATCH))).all()
            if not users:
                await erasure.mark_erased(session, HAS_RUNS, GRACE_PERIOD)
                return []
            await stop_runs(session, Run.user_id.in_(users))
            over = select(Run.id).where(Run.user_id.in_(users), Run.status.in_(FINISHED)).limit(BATCH)
            return (await session.scalars(over)).all()

    async def _erase(self, run_ids: Sequence[UUID]) -> None:
        """Leave of these runs what they used."""
        for run_id in run_ids:
            await EventStore(self._redis, run_id).delete(self._log_seconds)
        async with self._database.begin() as session:
            await session.execute(delete(Approval).where(Approval.run_id.in_(run_ids)))
            await session.execute(delete(ToolCall).where(ToolCall.run_id.in_(run_ids)))
            await session.execute(update(Run).where(Run.id.in_(run_ids)).values(ERASED_VALUES))


def deleted_tenants_rule() -> RetentionRule:
    """Say which runs go with their tenant; their logs are gone an hour after their end in any case."""
    runs = Base.metadata.tables["runs"]
    return runs, Run.tenant_id.in_(erasure.purgeable_tenants()) & Run.ended_at.is_not(None)

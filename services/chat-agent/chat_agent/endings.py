"""Ends of runs that nobody has told, told by whoever notices."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from redis.asyncio import Redis
from servicekit.database import Database
from sqlalchemy import select

from chat_agent.models import OVER, WAITING, Run
from chat_agent.outcomes import outcome_of, terminal_event
from chat_agent.run_log import RecordedLog, make_event


@dataclass(frozen=True)
class Endings:
    """What the rows say of runs, for those who listen to them."""

    database: Database
    redis: Redis
    keep_seconds: int

    async def is_resting(self, run_id: UUID) -> bool:
        """Tell whether a run waits for a person, or is over; then nothing comes after its last event."""
        async with self.database.begin() as session:
            status = await session.scalar(select(Run.status).where(Run.id == run_id))
        return status in {WAITING, *OVER, None}

    async def tell(self, run_id: UUID) -> int | None:
        """Tell the end of a run that nobody has told: it had no owner, or the owner was lost.

        Gives the number of the run's last event, 0 when its log is lost, none when the run is not over.
        """
        async with self.database.begin() as session:
            run = await session.get(Run, run_id)
        if run is None:
            return 0
        if run.status not in OVER:
            return None
        log = RecordedLog(self.redis, run_id)
        newest = await log.last()
        if newest is None and run.started_at is not None:
            return 0
        if newest is not None and newest.is_terminal:
            return newest.seq
        keep = self.keep_seconds
        seq = await log.append(run.attempt + 1, keep) + 1
        type_, fields = terminal_event(outcome_of(run))
        event = make_event(seq, type_, run_id, run.conversation_id, fields, datetime.now(UTC))
        return await log.append(run.attempt + 1, keep, [event])

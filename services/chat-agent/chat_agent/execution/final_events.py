"""Repairs logs of runs whose last event is missing, when somebody subscribes."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from redis.asyncio import Redis
from servicekit.database import Database
from sqlalchemy import select

from chat_agent.event_log.store import EventStore, EventType, make_event
from chat_agent.models import FINISHED, Run, RunStatus
from chat_agent.runs import approvals, store
from chat_agent.runs.outcome import approval_payload, outcome_from_row, outcome_payload, terminal_event
from chat_agent.settings import Settings


@dataclass(frozen=True)
class TerminalEventRepair:
    """Repairs logs whose last event is missing, from the rows."""

    database: Database
    redis: Redis
    settings: Settings

    async def is_idle(self, run_id: UUID) -> bool:
        """Return whether a run waits for a person, or is over; then nothing comes after its last event."""
        async with self.database.begin() as session:
            status = await session.scalar(select(Run.status).where(Run.id == run_id))
        return status in {RunStatus.WAITING, *FINISHED, None}

    async def ensure_terminal_event(self, run_id: UUID) -> int | None:
        """Append the terminal event, or the requested approvals, of a run whose owner could not.

        Return the number of the run's last event, 0 when its log is lost, none when the run is not over.
        """
        async with self.database.begin() as session:
            run = await session.get(Run, run_id)
        if run is None:
            return 0
        if run.status == RunStatus.WAITING:
            await self._ensure_waiting_event(run)
        if run.status not in FINISHED:
            return None
        log = EventStore(self.redis, run_id)
        newest = await log.last()
        if newest is None and run.started_at is not None:
            return 0
        if newest is not None and newest.is_terminal:
            return newest.seq
        # Right after what was read: if somebody else has appended it meanwhile, this is not added.
        seq = newest.seq + 1 if newest is not None else 1
        type_, fields = terminal_event(outcome_from_row(run))
        event = make_event(seq, type_, run_id, run.conversation_id, fields, datetime.now(UTC))
        ttl_seconds = store.ended_log_seconds(run, self.settings.run_log_ttl_seconds)
        return await log.append(run.attempt + 1, ttl_seconds, [event])

    async def _ensure_waiting_event(self, run: Run) -> None:
        log = EventStore(self.redis, run.id)
        newest = await log.last()
        if newest is None or newest.type == EventType.RUN_WAITING:
            return
        async with self.database.begin() as session:
            pending = [
                one for one in await approvals.list_for_run(session, run.id) if one.status == "pending"
            ]
        payloads = [(EventType.APPROVAL_REQUIRED, approval_payload(one)) for one in pending]
        payloads.append((EventType.RUN_WAITING, {"output": None, **outcome_payload(outcome_from_row(run))}))
        # In the owner's place: whoever goes on when it is answered is newer, and shuts this out, too.
        now = datetime.now(UTC)
        events = [
            make_event(seq, type_, run.id, run.conversation_id, fields, now)
            for seq, (type_, fields) in enumerate(payloads, newest.seq + 1)
        ]
        await log.append(
            run.attempt, self.settings.run_log_ttl_seconds + self.settings.approval_timeout_seconds, events
        )

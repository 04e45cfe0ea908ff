"""Subscribe to a run: its events after any number, wherever it is executed, until there are no more."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import orjson
from redis.exceptions import RedisError
from servicekit.auth.tokens import Principal
from sqlalchemy.exc import SQLAlchemyError

from chat_agent.errors import InvalidEventId, RunLogExpired, TokenExpired
from chat_agent.event_log.store import EventType, RunEvent
from chat_agent.execution.manager import RunManager
from chat_agent.models import FINISHED, Run, RunStatus
from chat_agent.runs import store
from chat_agent.runs.synthesize import events_from_row

logger = logging.getLogger(__name__)

OUTAGES = (RedisError, SQLAlchemyError, OSError)
RETRY_SECONDS = 0.5
# One line break: some parsers make an event of a blank line after a comment.
KEEP_ALIVE = b": keep-alive\n"
# For people who read the wire. A client sees that the run's last event is missing, and gets 401 when it
# resumes.
TOKEN_EXPIRED_COMMENT = b": the access token is no longer good\n"


async def subscribe(
    manager: RunManager, run_id: UUID, after: int = 0, *, until_finished: bool = False
) -> AsyncIterator[Sequence[RunEvent]]:
    """Yield a run's events after a number as they come, in batches; an empty one is due for a keep-alive.

    Ends when the run ends or waits for a person, or when its log is lost. Ends with this process, too, unless
    `until_finished`: the reader resumes at another. Of an expired log, yields what the run's row has.
    """
    if not after and (stored := await _events_of_expired_log(manager, run_id)):
        yield stored
        return
    while until_finished or not manager.is_closing:
        events, last = await _next_batch(manager, run_id, after)
        yield events
        if events:
            after = events[-1].seq
            if events[-1].is_terminal:
                return
            if events[-1].type == EventType.RUN_WAITING and await _is_idle_after(manager, run_id, after):
                return
        elif last is not None and last <= after:
            return


async def _next_batch(manager: RunManager, run_id: UUID, after: int) -> tuple[Sequence[RunEvent], int | None]:
    """Return the next events, if they come soon, else the number of the last event of a finished run."""
    try:
        # Looked up each time: the run may begin here, or continue elsewhere.
        events = await manager.event_source(run_id).after(after)
        if events or run_id in manager.active:
            return events, None
        return events, await manager.repair.ensure_terminal_event(run_id)
    except OUTAGES as error:
        logger.warning("events not read yet", extra={"error": type(error).__name__})
        await asyncio.sleep(RETRY_SECONDS)
        return [], None


async def _is_idle_after(manager: RunManager, run_id: UUID, seq: int) -> bool:
    """Return whether nothing has come, or will come by itself, after event number `seq`."""
    # In this order: events before the end or the wait of a run are in its log before its row says so.
    if not await manager.repair.is_idle(run_id):
        return False
    last = await manager.event_source(run_id).last()
    return last is None or last.seq <= seq


async def _events_of_expired_log(manager: RunManager, run_id: UUID) -> list[RunEvent]:
    """Return the events that the row of a finished run has, if its log has expired."""
    if run_id in manager.active:
        return []
    try:
        async with manager.database.begin() as session:
            run = await session.get(Run, run_id)
        if run is None or run.status not in FINISHED or run.started_at is None:
            return []
        if run.persistence == "none":
            return []
        return [] if await manager.event_source(run_id).last() else events_from_row(run)
    except OUTAGES:
        # Not known yet; the subscriber tries again.
        return []


async def read_all(manager: RunManager, run_id: UUID) -> list[RunEvent]:
    """Return all events of a run until now."""
    last = await manager.event_source(run_id).last()
    events = [] if last else await _events_of_expired_log(manager, run_id)
    while last and (not events or events[-1].seq < last.seq):
        more = await manager.event_source(run_id).after(events[-1].seq if events else 0)
        if not more:
            break
        events += more
    return events


async def wait_for_end(manager: RunManager, run_id: UUID) -> list[RunEvent]:
    """Return all events of a run until it ends or waits for a person; raises RunLogExpired."""
    events = [event async for events in subscribe(manager, run_id, until_finished=True) for event in events]
    if not events or not (events[-1].is_terminal or events[-1].type == EventType.RUN_WAITING):
        raise RunLogExpired
    return events


async def has_more(manager: RunManager, run: Run, after: int) -> bool:
    """Return whether a run has, or will have, events after number `after`.

    Raises RunLogExpired, and InvalidEventId for a number that no event has had.
    """
    last = await manager.event_source(run.id).last()
    if last is None and after and run.status == RunStatus.QUEUED:
        raise InvalidEventId
    # Of a run that goes on, the log has not begun, or is lost and about to be written anew.
    if last is None and run.status in {*FINISHED, RunStatus.WAITING} and run.started_at is not None:
        raise RunLogExpired
    if last is not None and after > last.seq:
        raise InvalidEventId
    if last is None or after < last.seq:
        return True
    return not (last.is_terminal or run.status == RunStatus.WAITING)


async def while_authorized(
    manager: RunManager, caller: Principal, batches: AsyncIterator[Sequence[RunEvent]]
) -> AsyncIterator[Sequence[RunEvent]]:
    """Pass events on while the caller's token is valid, checked with every batch; raises TokenExpired."""
    async for events in batches:
        if not await manager.verifier.is_still_valid(caller):
            raise TokenExpired
        yield events


async def sse_frames(
    manager: RunManager, run: Run, caller: Principal, after: int = 0
) -> AsyncIterator[bytes]:
    """Yield a run's events as server-sent events (WHATWG HTML 9.2)."""
    if run.status == RunStatus.QUEUED and not after and (frame := await _queued_frame(manager, run.id)):
        yield frame
    try:
        async for events in while_authorized(manager, caller, subscribe(manager, run.id, after)):
            yield b"".join([event.frame for event in events]) or KEEP_ALIVE
    except TokenExpired:
        yield TOKEN_EXPIRED_COMMENT


async def _queued_frame(manager: RunManager, run_id: UUID) -> bytes | None:
    """Return the event that says what a queued run waits for; it is not in the log, and has no number."""
    try:
        async with manager.database.begin() as session:
            ahead = await store.runs_ahead(session, run_id)
    except OUTAGES:
        return None
    if not ahead:
        return None
    first = {"id": str(ahead[0].id), "status": ahead[0].status}
    return b"event: run.queued\ndata: %s\n\n" % orjson.dumps(
        {
            "type": "run.queued",
            "run_id": str(run_id),
            "conversation_id": str(ahead[0].conversation_id),
            "ahead": len(ahead),
            "active_run": first,
        }
    )


async def final_event(manager: RunManager, run_id: UUID) -> RunEvent:
    """Wait for the event with which a run ends, or begins to wait for a person; raises RunLogExpired."""
    return (await wait_for_end(manager, run_id))[-1]

"""Listening to a run: its events from any place on, wherever it is worked on, until nothing comes after."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from redis.exceptions import RedisError
from servicekit.tokens import Principal
from sqlalchemy.exc import SQLAlchemyError

from chat_agent import runs
from chat_agent.engine import Engine
from chat_agent.errors import BadEventId, RunLogExpired
from chat_agent.models import OVER, QUEUED
from chat_agent.models import WAITING as RESTING
from chat_agent.run_log import WAITING, RunEvent

logger = logging.getLogger(__name__)

READ_PAUSE = 0.5
KEEP_ALIVE = b": keep-alive\n\n"


async def listen(
    engine: Engine, run_id: UUID, after: int = 0, *, to_the_end: bool = False
) -> AsyncIterator[Sequence[RunEvent]]:
    """Give a run's events as they come, several at once; none at all when it is time for a sign of life.

    Ends with the run, and when it waits for a person; when this process ends, too, so that the reader comes
    again to another, unless it wants to stay `to_the_end`; and when the run is over and its log is lost.
    """
    while to_the_end or not engine.is_closing:
        events, last = await heard(engine, run_id, after)
        yield events
        if events:
            after = events[-1].seq
            if events[-1].is_terminal:
                return
            if events[-1].type == WAITING and await engine.is_resting(run_id):
                return
        elif last is not None and last <= after:
            return


async def heard(engine: Engine, run_id: UUID, after: int) -> tuple[Sequence[RunEvent], int | None]:
    """Give what comes next, if it comes soon, else the number of the run's last event, if it has had that."""
    try:
        # Asked for each time: the run may begin here, or go on elsewhere.
        events = await engine.source(run_id).after(after)
        if events or run_id in engine.live:
            return events, None
        return events, await engine.tell_end(run_id)
    except (RedisError, SQLAlchemyError, OSError) as error:
        logger.warning("events not read yet", extra={"error": type(error).__name__})
        await asyncio.sleep(READ_PAUSE)
        return [], None


async def has_more(engine: Engine, caller: Principal, run_id: UUID, after: int) -> bool:
    """Tell whether a run has, or will have, events after number `after`.

    Raises UnknownRun, BadEventId for a number that no event has had, RunLogExpired.
    """
    async with engine.database.begin() as session:
        run = await runs.find(session, caller, run_id)
    last = await engine.source(run_id).last()
    if last is None and after and run.status == QUEUED:
        raise BadEventId
    if last is None and (after or (run.status in OVER and run.started_at is not None)):
        raise RunLogExpired
    if last is not None and after > last.seq:
        raise BadEventId
    if last is None or after < last.seq:
        return True
    return not (last.is_terminal or run.status == RESTING)


async def frames(engine: Engine, run_id: UUID, after: int = 0) -> AsyncIterator[bytes]:
    """Give a run's events as server-sent events (WHATWG HTML 9.2)."""
    async for events in listen(engine, run_id, after):
        yield b"".join([event.frame for event in events]) or KEEP_ALIVE


async def end(engine: Engine, run_id: UUID) -> RunEvent:
    """Wait for the event with which a run ends, or begins to wait for a person; raises RunLogExpired."""
    last = None
    async for events in listen(engine, run_id, to_the_end=True):
        last = events[-1] if events else last
    if last is None or not (last.is_terminal or last.type == WAITING):
        raise RunLogExpired
    return last

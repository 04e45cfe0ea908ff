"""Listening to a run: its events from any place on, wherever it is worked on, until nothing comes after."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from uuid import UUID

from redis.exceptions import RedisError
from servicekit.auth.tokens import Principal
from sqlalchemy.exc import SQLAlchemyError

from chat_agent.errors import BadEventId, RunLogExpired, TokenEnded
from chat_agent.event_log.store import WAITING, RunEvent
from chat_agent.execution.manager import Engine
from chat_agent.models import OVER, QUEUED, Run
from chat_agent.models import WAITING as RESTING
from chat_agent.runs import store
from chat_agent.runs.synthesize import remembered

logger = logging.getLogger(__name__)

OUTAGES = (RedisError, SQLAlchemyError, OSError)
READ_PAUSE = 0.5
KEEP_ALIVE = b": keep-alive\n\n"
# For people who read the wire. A client sees that the run's last event is missing, and hears 401 when it
# comes again to resume.
TOKEN_ENDED = b": the access token is no longer good\n\n"

# Whether whoever listens may go on to.
MayHear = Callable[[], Awaitable[bool]]


async def listen(
    engine: Engine, run_id: UUID, after: int = 0, *, to_the_end: bool = False
) -> AsyncIterator[Sequence[RunEvent]]:
    """Give a run's events as they come, several at once; none at all when it is time for a sign of life.

    Ends with the run, and when it waits for a person; when this process ends, too, so that the reader comes
    again to another, unless it wants to stay `to_the_end`; and when the run is over and its log is lost. Of a
    log that is no longer kept it gives what the run's row remembers.
    """
    if not after and (kept := await kept_in_row(engine, run_id)):
        yield kept
        return
    while to_the_end or not engine.is_closing:
        events, last = await heard(engine, run_id, after)
        yield events
        if events:
            after = events[-1].seq
            if events[-1].is_terminal:
                return
            if events[-1].type == WAITING and await is_at_rest(engine, run_id, after):
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
        return events, await engine.endings.tell(run_id)
    except OUTAGES as error:
        logger.warning("events not read yet", extra={"error": type(error).__name__})
        await asyncio.sleep(READ_PAUSE)
        return [], None


async def is_at_rest(engine: Engine, run_id: UUID, seq: int) -> bool:
    """Tell whether nothing has come, or will come by itself, after event number `seq`."""
    # In this order: what is told before a run rests, or ends, is in its log before its row says so.
    if not await engine.endings.is_resting(run_id):
        return False
    last = await engine.source(run_id).last()
    return last is None or last.seq <= seq


async def kept_in_row(engine: Engine, run_id: UUID) -> list[RunEvent]:
    """Give what the row of a run remembers when it is over for so long that its log is no longer kept."""
    if run_id in engine.live:
        return []
    try:
        async with engine.database.begin() as session:
            run = await session.get(Run, run_id)
        if run is None or run.status not in OVER or run.started_at is None:
            return []
        return [] if await engine.source(run_id).last() else remembered(run)
    except OUTAGES:
        # Nothing can be said of it yet; who listens goes on to try.
        return []


async def so_far(engine: Engine, run_id: UUID) -> list[RunEvent]:
    """Give all that has happened in a run until now."""
    last = await engine.source(run_id).last()
    told = [] if last else await kept_in_row(engine, run_id)
    while last and (not told or told[-1].seq < last.seq):
        more = await engine.source(run_id).after(told[-1].seq if told else 0)
        if not more:
            break
        told += more
    return told


async def to_the_end(engine: Engine, run_id: UUID) -> list[RunEvent]:
    """Give all that happens in a run until it ends, or begins to wait for a person; raises RunLogExpired."""
    told = [event async for events in listen(engine, run_id, to_the_end=True) for event in events]
    if not told or not (told[-1].is_terminal or told[-1].type == WAITING):
        raise RunLogExpired
    return told


async def has_more(engine: Engine, caller: Principal, run_id: UUID, after: int) -> bool:
    """Tell whether a run has, or will have, events after number `after`.

    Raises UnknownRun, BadEventId for a number that no event has had, RunLogExpired.
    """
    async with engine.database.begin() as session:
        run = await store.find(session, caller, run_id)
    last = await engine.source(run_id).last()
    if last is None and after and run.status == QUEUED:
        raise BadEventId
    # Of a run that goes on, the log has not begun, or is lost and about to be written anew.
    if last is None and run.status in {*OVER, RESTING} and run.started_at is not None:
        raise RunLogExpired
    if last is not None and after > last.seq:
        raise BadEventId
    if last is None or after < last.seq:
        return True
    return not (last.is_terminal or run.status == RESTING)


async def while_let_in(
    may_hear: MayHear, told: AsyncIterator[Sequence[RunEvent]]
) -> AsyncIterator[Sequence[RunEvent]]:
    """Pass on what is told for as long as it may be heard, asked at each sign of life; raises TokenEnded."""
    async for events in told:
        if not await may_hear():
            raise TokenEnded
        yield events


async def frames(engine: Engine, run_id: UUID, may_hear: MayHear, after: int = 0) -> AsyncIterator[bytes]:
    """Give a run's events as server-sent events (WHATWG HTML 9.2)."""
    try:
        async for events in while_let_in(may_hear, listen(engine, run_id, after)):
            yield b"".join([event.frame for event in events]) or KEEP_ALIVE
    except TokenEnded:
        yield TOKEN_ENDED


async def end(engine: Engine, run_id: UUID) -> RunEvent:
    """Wait for the event with which a run ends, or begins to wait for a person; raises RunLogExpired."""
    return (await to_the_end(engine, run_id))[-1]

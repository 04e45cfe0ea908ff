"""Waiting, while a run can wait, for what may be just starting again."""

from collections.abc import Awaitable, Callable
from typing import Concatenate, ParamSpec, TypeVar

import stamina
from servicekit.database import Database
from servicekit.errors import is_outage
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.errors import ConversationUnavailable

P = ParamSpec("P")
T = TypeVar("T")

# How long Postgres may be away before a run is left to whoever takes it over.
OUTAGE_SECONDS = 60.0


class DatabaseOutage(ConnectionError):
    """The database was away for longer than a run waits; whoever claims the run continues it."""


async def retry_unavailable(call: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Retry a call of the conversation service; raises ConversationUnavailable after `seconds`."""
    return await retry(call, lambda error: isinstance(error, ConversationUnavailable), seconds)


async def retry_transaction(
    database: Database,
    work: Callable[Concatenate[AsyncSession, P], Awaitable[T]],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Call `work` in a transaction, and again while the database is away; return what it returns.

    It must be idempotent: a commit whose answer was lost may have happened.
    Raises DatabaseOutage after OUTAGE_SECONDS.
    """

    async def transaction() -> T:
        async with database.begin() as session:
            return await work(session, *args, **kwargs)

    return await retry_database(transaction)


async def retry_database(call: Callable[[], Awaitable[T]]) -> T:
    """Retry a call while the database is away; raises DatabaseOutage after OUTAGE_SECONDS."""
    try:
        return await retry(call, is_outage, OUTAGE_SECONDS)
    except Exception as error:
        if is_outage(error):
            raise DatabaseOutage from error
        raise


async def retry(call: Callable[[], Awaitable[T]], on: Callable[[Exception], bool], seconds: float) -> T:
    """Retry a call with exponential back-off, for `seconds`."""
    async for attempt in stamina.retry_context(
        on=on, attempts=None, timeout=seconds, wait_initial=0.1, wait_max=2
    ):
        with attempt:
            return await call()
    raise AssertionError  # pragma: no cover - the loop above returns or raises

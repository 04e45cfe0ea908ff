"""How long a request waits before its response begins."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from servicekit.backoff import jittered
from servicekit.database import Database
from servicekit.errors import ServiceError, Unavailable
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.errors import RunCapacityExceeded

# A stream's headers name its run, and the gateway waits for them for a minute: a refusal must come before.
RESPONSE_SECONDS = 30.0
# Whoever is refused comes again within this, and not all at once.
RETRY_AFTER_SECONDS = 10.0


@asynccontextmanager
async def start_deadline() -> AsyncIterator[asyncio.Timeout]:
    """Limit how long a run may take to be started or resumed; raises RunCapacityExceeded."""
    async with deadline(capacity_exceeded()) as timeout:
        yield timeout


@asynccontextmanager
async def replay_deadline() -> AsyncIterator[None]:
    """Limit how long it may take to find out what is streamed again; raises Unavailable."""
    async with deadline(Unavailable(retry_after=jittered(RETRY_AFTER_SECONDS))):
        yield


@asynccontextmanager
async def deadline(failure: ServiceError) -> AsyncIterator[asyncio.Timeout]:
    """Raise this failure where the block takes longer than `RESPONSE_SECONDS`."""
    try:
        async with asyncio.timeout(RESPONSE_SECONDS) as timeout:
            yield timeout
    except TimeoutError as error:
        if timeout.expired():
            raise failure from error
        raise


@asynccontextmanager
async def capacity_limit(database: Database) -> AsyncIterator[None]:
    """Raise RunCapacityExceeded where the block waits in vain for a connection, as others use all of them."""
    try:
        yield
    except PoolTimeout as error:
        if database.answers():
            raise capacity_exceeded() from error
        raise


@asynccontextmanager
async def transaction(database: Database) -> AsyncIterator[AsyncSession]:
    """Open a transaction; raises RunCapacityExceeded while others use all connections."""
    async with capacity_limit(database), database.begin() as session:
        yield session


def capacity_exceeded() -> RunCapacityExceeded:
    """Return the error of a replica that cannot start a run in time."""
    return RunCapacityExceeded(retry_after=jittered(RETRY_AFTER_SECONDS))

"""One Postgres database a service, and one transaction a request, committed before the answer leaves."""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Self
from weakref import WeakSet

from asyncpg import Connection, PostgresError  # type: ignore[import-untyped]  # it ships no types
from fastapi import Depends, Request
from pydantic import SecretStr
from sqlalchemy import MetaData, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from servicekit import postgres
from servicekit.postgres import GuardedConnection, create_engine
from servicekit.settings import ServiceSettings

COMMAND_SECONDS = 15
# What a server says to a write that takes none, as one does that was the primary until a moment ago.
READ_ONLY = "25006"


def metadata() -> MetaData:
    """Make the table registry of one service, with names of constraints that migrations can rely on."""
    return MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Database:
    """The service's own database; the service answers 503 when it cannot be reached."""

    def __init__(
        self,
        url: SecretStr | str,
        *,
        name: str,
        pool_size: int = 10,
        prepared_statements: bool = True,
    ) -> None:
        self.engine = create_engine(
            url.get_secret_value() if isinstance(url, SecretStr) else url,
            name,
            prepared_statements=prepared_statements,
            connection_class=GuardedConnection,
            command_seconds=COMMAND_SECONDS,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=postgres.CONNECT_SECONDS,
        )
        event.listen(self.engine.sync_engine.pool, "checkout", discard_closed_connection)
        event.listen(self.engine.sync_engine.pool, "checkin", self._note_return)
        event.listen(self.engine.sync_engine.pool, "connect", self._note_connection)
        self._connections: WeakSet[Connection] = WeakSet()
        self._returned_at = -math.inf
        event.listen(self.engine.sync_engine, "handle_error", redact_error_detail)
        event.listen(self.engine.sync_engine, "handle_error", discard_read_only_connection)
        self._wakeups: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._sessions = async_sessionmaker(
            self.engine, expire_on_commit=False, info={"wakeups": self._wakeups}
        )

    @classmethod
    def from_settings(cls, settings: ServiceSettings, name: str, pool_size: int | None = None) -> Self:
        """Make the database that a service's settings describe."""
        return cls(
            settings.database_url,
            name=name,
            pool_size=pool_size or settings.database_pool_size,
            prepared_statements=settings.database_prepared_statements,
        )

    def begin(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Open a transaction: leaving commits, raising rolls back."""
        return self._sessions.begin()

    def wakeup(self, work: str) -> asyncio.Event:
        """Return the event that is set by commits that make some work due (see `wake_on_commit`)."""
        return self._wakeups[work]

    def answers(self) -> bool:
        """Return whether connections were returned to the pool lately.

        A timeout while waiting for one then means that the pool is busy, not that the database is down.
        """
        return time.monotonic() - self._returned_at < postgres.CONNECT_SECONDS

    def _note_return(self, _connection: object, _record: object) -> None:
        self._returned_at = time.monotonic()

    def _note_connection(self, connection: DBAPIConnection, _record: object) -> None:
        self._connections.add(connection.driver_connection)

    async def ping(self) -> None:
        """Raise unless the database answers."""
        async with self.engine.connect() as connection:
            await connection.execute(text("select 1"))

    async def close(self) -> None:
        """Close all connections, also those that somebody still uses."""
        await self.engine.dispose()
        for connection in tuple(self._connections):
            if not connection.is_closed():
                connection.terminate()


def wake_on_commit(session: AsyncSession, work: str) -> None:
    """Wake this process's worker for some work once the session's transaction has committed.

    So the worker need not poll often for what its own process has made due; other processes' work it finds by
    polling.
    """
    if (wakeups := session.info.get("wakeups")) is not None:
        event.listen(session.sync_session, "after_commit", lambda _session: wakeups[work].set(), once=True)


def discard_closed_connection(connection: DBAPIConnection, _record: object, _proxy: object) -> None:
    """Discard a pooled connection that the server has closed, so that the pool opens a new one.

    A restart of the database then causes no errors, without a round trip before each use.
    """
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def redact_error_detail(context: ExceptionContext) -> None:
    """Leave out of an error what it says of a row, as in `Key (email)=(ann@example.com) already exists`.

    Logs and spans show what errors say.
    """
    if isinstance(cause := context.original_exception.__cause__, PostgresError):
        cause.detail = None
    for error in (context.original_exception, context.sqlalchemy_exception):
        if error is not None and error.args:
            error.args = (str(error.args[0]).partition("\nDETAIL:")[0],)


def discard_read_only_connection(context: ExceptionContext) -> None:
    """Discard all connections to a server that has become read-only; new ones go to the new primary."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True


async def transaction(request: Request) -> AsyncIterator[AsyncSession]:
    """Open the request's transaction, or join the one that already owns it (see `idempotency`)."""
    owned: AsyncSession | None = getattr(request.state, "session", None)
    if owned is not None:
        yield owned
        return
    database: Database = request.app.state.resources.database
    async with database.begin() as session:
        yield session


# "function": commit before the answer leaves, or a client may hear of a success that never was.
Session = Annotated[AsyncSession, Depends(transaction, scope="function")]

"""What an operator's command says where it cannot use its database or Redis."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from asyncpg import PostgresError  # type: ignore[import-untyped]  # it ships no types
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError

from servicekit.errors import is_outage

# What Postgres says to who may not enter, of a database that is not there, and of a missing table.
NO_ACCESS = ("28", "3D")
NO_TABLE = "42P01"


class DependencyFailed(Exception):
    """A command cannot use what it needs; the message says what to do."""


@contextmanager
def named_dependencies() -> Iterator[None]:
    """Raise what the database and Redis refuse as DependencyFailed; all else passes."""
    try:
        yield
    except RedisError as error:
        raise DependencyFailed(f"Redis does not answer: {error} Check REDIS_URL.") from error
    except (DBAPIError, PostgresError, ConnectionError, TimeoutError, socket.gaierror) as error:
        if message := problem_of(error):
            raise DependencyFailed(message) from error
        raise


def problem_of(error: Exception) -> str | None:
    """Return why the database cannot be used, or nothing where it can."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    reason = str(cause).partition("\n")[0] or "no answer in time"
    state = str(getattr(cause, "sqlstate", None))
    if state == NO_TABLE:
        return "The database does not have all tables. Run `alembic upgrade head` in the service's folder."
    if state.startswith(NO_ACCESS):
        return f"The database refuses the connection: {reason}. Check DATABASE_URL."
    if is_outage(error):
        return f"The database does not answer: {reason}. Check DATABASE_URL, and that Postgres runs."
    return None

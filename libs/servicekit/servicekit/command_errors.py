"""Runs what an operator's command does, and says why where it cannot."""

import asyncio
import socket
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

from asyncpg import PostgresError  # type: ignore[import-untyped]  # it ships no types
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError

from servicekit.errors import ServiceError, is_outage

T = TypeVar("T")
# What Postgres says to who may not enter, of a database that is not there, and of a missing table.
NO_ACCESS = ("28", "3D")
NO_TABLE = "42P01"


def fail(message: object) -> NoReturn:
    """Print an error and exit with code 1."""
    sys.stderr.write(f"{message}\n")
    sys.exit(1)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine; exit with a message on errors of ours, of the database and of Redis."""
    try:
        return asyncio.run(work)
    except ServiceError as error:
        fail(error.detail)
    except RedisError as error:
        fail(f"Redis does not answer: {error} Check REDIS_URL.")
    except (DBAPIError, PostgresError, ConnectionError, TimeoutError, socket.gaierror) as error:
        if message := problem_of(error):
            fail(message)
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

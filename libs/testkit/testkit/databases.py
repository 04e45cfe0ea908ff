"""Databases for tests: made once a worker process, migrated as in production, emptied after each test."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import make_url

TABLES = """
    select string_agg(format('%I', tablename), ', ') from pg_tables
    where schemaname = 'public' and tablename <> 'alembic_version'
"""
# What a worker has begun while its app's loop stands still, between two tests, would never end.
CUT_OFF = """
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and xact_start < now() - interval '3 s'
"""
NAMES = "select tablename from pg_tables where schemaname = 'public' order by tablename"
ATTEMPTS = 5


class Databases:
    """The databases of one test server."""

    def __init__(self, admin_url: str) -> None:
        self._admin = make_url(admin_url).set(drivername="postgresql")
        self._made: dict[str, str] = {}

    def fresh(self, name: str) -> str:
        """Make an empty database, or give the one made before, and its URL."""
        if name not in self._made:
            asyncio.run(
                self._execute(self._admin.render_as_string(hide_password=False), f'create database "{name}"')
            )
            self._made[name] = self._admin.set(database=name).render_as_string(hide_password=False)
        return self._made[name]

    def migrated(self, service: Path) -> str:
        """Give the URL of a service's database, at its newest revision."""
        known = service.name in self._made
        url = self.fresh(service.name)
        if not known:
            self.alembic(service, url, lambda config: command.upgrade(config, "head"))
        return url

    def alembic(self, service: Path, url: str, run: Callable[[Config], object]) -> None:
        """Run one of Alembic's commands on a database, as the service's image does."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DATABASE_URL", url)
            run(Config(toml_file=service / "pyproject.toml"))

    def empty(self) -> None:
        """Remove every row of every database; a worker just at work may be in the way for a moment."""
        for url in self._made.values():
            for left in reversed(range(ATTEMPTS)):
                try:
                    asyncio.run(self._truncate(url))
                    break
                except (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError):
                    if not left:
                        raise
                    asyncio.run(self._execute(url, CUT_OFF))

    async def _truncate(self, url: str) -> None:
        async def work(connection: asyncpg.Connection) -> None:
            if tables := await connection.fetchval(TABLES):
                # An app whose loop stands still may hold a lock: an error is better than waiting for ever.
                await connection.execute("set lock_timeout = '5s'")
                await connection.execute(f"truncate {tables} restart identity cascade")

        await self._connected(url, work)

    async def _execute(self, url: str, statement: str) -> None:
        await self._connected(url, lambda connection: connection.execute(statement))

    async def _connected(self, url: str, work: Callable[[asyncpg.Connection], Awaitable[object]]) -> None:
        connection = await asyncpg.connect(url)
        try:
            await work(connection)
        finally:
            await connection.close()


async def contents(url: str) -> dict[str, list[str]]:
    """Give every row of every table of a database, written out, in an order of its own."""
    connection = await asyncpg.connect(url)
    try:
        names = [row["tablename"] for row in await connection.fetch(NAMES)]
        return {
            name: sorted(str(dict(row)) for row in await connection.fetch(f'select * from "{name}"'))  # noqa: S608
            for name in names
        }
    finally:
        await connection.close()


def query(url: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
    """Ask a database something, past the service, from a test that is not asynchronous."""

    async def ask() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(statement, *arguments))
        finally:
            await connection.close()

    return asyncio.run(ask())

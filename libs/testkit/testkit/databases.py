"""Databases for tests: made once a worker process, migrated as in production, emptied after each test."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import pytest
from alembic import command
from alembic.config import Config
from sandbox.embedded import Postgres
from sqlalchemy.engine import make_url

# Deleting costs a tenth of truncating, which makes new files and has every connection plan its statements
# anew. The lock waits for who writes; without triggers, tables that only grow can be emptied, in any order.
DELETE = """
    do $$
    declare
        every regclass[] := array(
            select format('%I.%I', schemaname, tablename)::regclass from pg_tables
            where schemaname = 'public' and tablename <> 'alembic_version'
        );
        filled regclass[] := '{}';
        one regclass;
        has_rows boolean;
    begin
        foreach one in array every loop
            execute format('select exists (select from %s)', one) into has_rows;
            if has_rows then filled := filled || one; end if;
        end loop;
        if filled <> '{}' then
            execute format('lock table %s in exclusive mode', array_to_string(filled, ', '));
            foreach one in array every loop
                execute format('delete from %s', one);
            end loop;
        end if;
        perform setval(format('%I.%I', schemaname, sequencename), start_value, false) from pg_sequences
        where last_value is not null;
    end
    $$
"""
# Deleted rows stay in the files, with autovacuum off: rows come in the order in which they were inserted.
TRUNCATE = """
    do $$
    declare
        every text := (
            select string_agg(format('%I.%I', schemaname, tablename), ', ') from pg_tables
            where schemaname = 'public' and tablename <> 'alembic_version'
        );
    begin
        if every is not null then execute 'truncate ' || every; end if;
    end
    $$
"""
DELETES_BEFORE_TRUNCATE = 50
# Services connect thousands of times, and would prove with 4,096 rounds each that they know the password.
SETUP = """
    alter system set autovacuum = off;
    select pg_reload_conf();
    set scram_iterations = 1;
    alter role "{user}" password '{password}';
    grant set on parameter session_replication_role to "{user}"
"""
# What a worker has begun while its app's loop stands still, between two tests, would never end.
CUT_OFF = """
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and xact_start < now() - interval '3 s'
"""
NAMES = "select tablename from pg_tables where schemaname = 'public' order by tablename"
# Each waits for a lock for five seconds.
ATTEMPTS = 12


class Databases:
    """The databases of one test server."""

    def __init__(self, admin_url: str) -> None:
        self._admin = make_url(admin_url).set(drivername="postgresql")
        self._made: dict[str, str] = {}
        self._runner = asyncio.Runner()
        self._connections: dict[str, asyncpg.Connection] = {}
        self._deletes: Counter[str] = Counter()

    def fresh(self, name: str) -> str:
        """Make an empty database, or give the one made before, and its URL."""
        if name not in self._made:
            asyncio.run(
                self._execute(self._admin.render_as_string(hide_password=False), f'create database "{name}"')
            )
            self._made[name] = self._admin.set(database=name).render_as_string(hide_password=False)
        return self._made[name]

    def migrated(self, service: Path) -> str:
        """Return the URL of a service's database, at its newest revision."""
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

    def empty(self, without: Collection[str] = ()) -> None:
        """Remove every row of every database but those of some services.

        A worker just at work may be in the way for a moment.
        """
        services = tuple(without)
        for name, url in self._made.items():
            if not name.startswith(services):
                self._empty(url)

    def _empty(self, url: str) -> None:
        for left in reversed(range(ATTEMPTS)):
            try:
                self._runner.run(self._delete_rows(url))
                break
            except (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError):
                if not left:
                    raise
                self._runner.run(self._execute(url, CUT_OFF))

    def close(self) -> None:
        """Close the connections that emptied the databases."""
        for connection in self._connections.values():
            self._runner.run(connection.close())
        self._runner.close()

    async def _delete_rows(self, url: str) -> None:
        connection = await self._connection(url)
        self._deletes[url] += 1
        if not self._deletes[url] % DELETES_BEFORE_TRUNCATE:
            await connection.execute(TRUNCATE)
        await connection.execute(DELETE)

    async def _connection(self, url: str) -> asyncpg.Connection:
        """Return the connection that empties a database, kept from test to test."""
        if url not in self._connections or self._connections[url].is_closed():
            connection = await asyncpg.connect(url, statement_cache_size=0)
            # An app whose loop stands still may hold a lock: an error is better than waiting for ever.
            await connection.execute("set lock_timeout = '5s'; set session_replication_role = replica")
            self._connections[url] = connection
        return self._connections[url]

    async def _execute(self, url: str, statement: str) -> None:
        await self._connected(url, lambda connection: connection.execute(statement))

    async def _connected(self, url: str, work: Callable[[asyncpg.Connection], Awaitable[object]]) -> None:
        connection = await asyncpg.connect(url)
        try:
            await work(connection)
        finally:
            await connection.close()


async def prepare(server: Postgres) -> None:
    """Set a server up for databases that are emptied again and again."""
    admin = await asyncpg.connect(server.admin_url)
    try:
        password = make_url(server.url).password
        for statement in SETUP.format(user=server.user, password=password).split(";"):
            await admin.execute(statement)
    finally:
        await admin.close()


async def contents(url: str) -> dict[str, list[str]]:
    """Return every row of every table of a database, written out, in an order of its own."""
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
    """Query a database directly, from a test that is not asynchronous."""

    async def ask() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(statement, *arguments))
        finally:
            await connection.close()

    return asyncio.run(ask())

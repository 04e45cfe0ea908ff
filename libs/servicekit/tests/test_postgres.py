"""Addresses of databases as managed Postgres gives them: parameters, several hosts, failover."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sandbox.embedded import Postgres, free_port
from servicekit.database import Database
from servicekit.postgres import AddressInvalid, Connector, create_engine
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from testkit.databases import query
from testkit.eventually import time_limit, until_async


async def answer(url: str, statement: str = "select 1") -> tuple[object, ...]:
    """Query through an engine, as a service does."""
    engine = create_engine(url, "tests")
    try:
        async with engine.connect() as connection:
            return tuple((await connection.execute(text(statement))).one())
    finally:
        await engine.dispose()


async def test_takes_the_parameters_that_providers_add(postgres: Postgres) -> None:
    url = (
        f"{postgres.url}?channel_binding=require&gssencmode=disable&keepalives_idle=30&connect_timeout=10"
        "&application_name=till&options=-c%20statement_timeout%3D1234"
    )
    values = await answer(
        url, "select current_setting('application_name'), current_setting('statement_timeout')"
    )
    assert values == ("till", "1234ms")


async def test_has_the_name_of_the_service_by_default(postgres: Postgres) -> None:
    assert await answer(postgres.url, "select current_setting('application_name')") == ("tests",)


async def test_goes_to_the_next_host_when_one_is_away(postgres: Postgres) -> None:
    url = postgres.url.replace("@", f"@127.0.0.1:{free_port()},")
    assert await answer(f"{url}?target_session_attrs=read-write", "select 1") == (1,)


async def test_waits_for_a_silent_host_no_longer_than_connect_timeout(postgres: Postgres) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        url = postgres.url.replace("@", f"@{host},")

        async def is_answered() -> bool:
            # Also the host that answers has a second: too little for a machine that stands still.
            with contextlib.suppress(TimeoutError):
                return await answer(f"{url}?connect_timeout=1") == (1,)
            return False

        await until_async(is_answered)
        with pytest.raises(TimeoutError):
            await answer(f"postgresql://acme@{host}/acme?connect_timeout=1")


async def test_connects_to_a_host_of_the_requested_kind_or_none(postgres: Postgres) -> None:
    with pytest.raises(ConnectionError, match="kind"):
        await answer(f"{postgres.url}?target_session_attrs=standby")
    assert await answer(f"{postgres.url}?target_session_attrs=prefer-standby") == (1,)


async def test_tries_first_what_answered_last(postgres: Postgres) -> None:
    away = free_port()
    connector = Connector(postgres.url.replace("@", f"@127.0.0.1:{away},"), "tests")
    assert connector.url.port == away
    for _ in range(2):
        connection = await connector()
        await connection.close()
    assert connector._hosts == [("127.0.0.1", postgres.port), ("127.0.0.1", away)]


async def test_closing_closes_connections_in_use(postgres: Postgres) -> None:
    database = Database(postgres.url, name="tests")
    async with database.engine.connect() as connection:
        raw = await connection.get_raw_connection()
        server_side = raw.driver_connection
        await database.close()
        assert server_side.is_closed()
        await connection.invalidate()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Postgres, Postgres]]:
    """Two servers that know the same role and password."""
    with (
        Postgres(tmp_path / "one", durable=False) as one,
        Postgres(tmp_path / "two", durable=False) as two,
    ):
        for server in (one, two):
            query(server.url, "create table notes (port int)")
        password = urlsplit(one.url).password
        query(two.admin_url, f"alter role acme password '{password}'")
        yield one, two


async def read_only(server: Postgres, word: str) -> None:
    """Make a server take writes or not, as a failover does; for sessions that are open, too."""
    for statement in (
        f"alter system set default_transaction_read_only = {word}",
        "select pg_reload_conf()",
    ):
        await asyncio.to_thread(query, server.admin_url, statement)


async def until_refused(write: Callable[[], Awaitable[int]]) -> None:
    """Write until it fails: a session hears of the change a moment later."""
    async with time_limit():
        while True:
            await write()


async def test_follows_the_host_that_takes_writes(pair: tuple[Postgres, Postgres]) -> None:
    one, two = pair
    await read_only(two, "on")
    url = one.url.replace(f":{one.port}/", f":{one.port},127.0.0.1:{two.port}/")
    database = Database(f"{url}?target_session_attrs=read-write", name="tests", pool_size=1)

    async def write() -> int:
        async with database.begin() as session:
            written = "insert into notes values (inet_server_port()) returning port"
            port: int = (await session.execute(text(written))).scalar_one()
            return port

    assert await write() == one.port
    await read_only(one, "on")
    await read_only(two, "off")
    with pytest.raises(DBAPIError) as refused:
        await until_refused(write)
    assert refused.value.connection_invalidated
    assert await write() == two.port
    await database.close()


def test_refuses_what_cannot_be_meant() -> None:
    for address, complaint in {
        "mysql://u:hunter2@h/db": "postgresql://",
        "postgresql://u:hunter2@h/db?sslmode=verify": "sslmode",
        "postgresql://u:hunter2@h/db?target_session_attrs=leader": "target_session_attrs",
        "postgresql://u:hunter2@h:port/db": "cannot be read",
        "postgresql://u:hunter2@h1,h2,h3/db?port=1,2": "cannot be read",
        "postgresql://u:hunter2@h/db?connect_timeout=soon": "cannot be read",
    }.items():
        with pytest.raises(AddressInvalid, match=complaint) as refusal:
            Connector(address, "tests")
        assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("postgresql://u:p@h/db", [("h", 5432)]),
        ("postgres://u:p@h1:1,h2/db", [("h1", 1), ("h2", 5432)]),
        ("postgresql://u:p@[::1]:1,[::2]/db", [("::1", 1), ("::2", 5432)]),
        ("postgresql:///db?host=h1,h2&port=1,2", [("h1", 1), ("h2", 2)]),
        ("postgresql:///db?host=/cloudsql/p:r:i&user=u", [("/cloudsql/p:r:i", 5432)]),
        ("postgresql://u:p@h1,h2/db?port=7", [("h1", 7), ("h2", 7)]),
        ("postgresql:///db", [(None, None)]),
    ],
)
def test_reads_hosts_as_libpq_does(address: str, hosts: list[tuple[str | None, int | None]]) -> None:
    assert Connector(address, "tests")._hosts == hosts

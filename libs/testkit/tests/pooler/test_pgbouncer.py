"""Every service at work through the real PgBouncer in transaction mode, whatever it keeps of statements."""

import asyncio
import contextlib
import importlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sandbox.embedded import Postgres, Valkey
from servicekit.auth import jose
from servicekit.database import Database
from servicekit.encryption import decrypt
from sqlalchemy import text
from testkit.app import client, running
from testkit.contract_documents import module, services
from testkit.databases import query
from testkit.eventually import MAX_START_SECONDS, time_limit, until
from testkit.fork_server import ForkServer
from testkit.issuer import Issuer
from testkit.pacts import ROOT
from testkit.production import production_settings
from testkit.service_process import environment_of

PASSWORD = "four unrelated words here"
PEOPLE = 12
SESSION_SETTINGS = (
    "select current_setting('idle_in_transaction_session_timeout') as idle, current_setting('jit') as jit"
)


@dataclass(frozen=True)
class Installation:
    """All services behind one pooler."""

    apps: dict[str, FastAPI]
    direct: dict[str, str]
    issuer: Issuer


def exit_code(programs: ForkServer, pid: int) -> int | None:
    """Wait for a process to end, and return its exit code."""
    until(lambda: programs.poll(pid) is not None, MAX_START_SECONDS)
    return programs.poll(pid)


@pytest.fixture(scope="module")
def migrated_through(
    pgbouncer: Any, postgres: Postgres, programs: ForkServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Databases migrated through the pooler, one of them by two replicas at once; their direct addresses."""
    direct, log = {}, tmp_path_factory.mktemp("migrations") / "log"
    for name in services():
        database = f"{name}-{pgbouncer.statements}"
        # Not the fixture's: those are emptied after each test, and here the services go on.
        query(postgres.url, f'create database "{database}"')
        direct[name], url = postgres.database_url(database), pgbouncer.url(database)
        environment = {"PATH": os.environ["PATH"], "DATABASE_URL": url}
        migrate = ("alembic", "upgrade", "head")
        replicas = [
            programs.start(environment, log, migrate, ROOT / "services" / name)
            for _ in range(2 if name == "conversation" else 1)
        ]
        assert {exit_code(programs, replica) for replica in replicas} == {0}, log.read_text()
    return direct


@pytest.fixture(scope="module")
async def installation(
    pgbouncer: Any,
    migrated_through: dict[str, str],
    issuer: Issuer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Installation]:
    async with contextlib.AsyncExitStack() as stack:
        redis = stack.enter_context(Valkey(tmp_path_factory.mktemp("redis"), durable=False))
        apps = {}
        for name in services():
            variables = {
                **production_settings(name),
                "ENVIRONMENT": "test",
                "DEBUG": "true",
                "LOGGING_SINK": "none",
                "DATABASE_URL": pgbouncer.url(f"{name}-{pgbouncer.statements}"),
                "DATABASE_PREPARED_STATEMENTS": str(pgbouncer.statements > 0),
                "REDIS_URL": redis.url,
                "AUTH_ISSUER": issuer.issuer,
                "AUTH_JWKS_URL": issuer.jwks_url,
                "AUTH_RATE_LIMITS": '{"ip:register": 1000}',
                "APP_PUBLIC_URL": "https://app.acme.example",
            }
            apps[name] = await stack.enter_async_context(running(made(name, variables)))
        yield Installation(apps, migrated_through, issuer)


def made(name: str, variables: dict[str, str]) -> FastAPI:
    """Make a service out of its variables."""
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in variables.items():
            patch.setenv(variable, value)
        settings = module(name, "settings").Settings()
    app: FastAPI = importlib.import_module(f"{name.replace('-', '_')}.main").create_app(settings)
    return app


async def eventually(url: str, statement: str, count: int) -> None:
    """Wait until a statement finds so many rows, past the pooler."""
    connection = await asyncpg.connect(url)
    try:
        async with time_limit():
            while len(await connection.fetch(statement)) < count:  # noqa: ASYNC110  # another's work
                await asyncio.sleep(0.05)
    finally:
        await connection.close()


async def test_every_service_is_ready_and_stays_so(installation: Installation) -> None:
    async def is_ready(app: FastAPI) -> bool:
        async with client(app.state.internal) as http:
            return (await http.get("/readyz")).status_code == httpx.codes.OK

    async with time_limit():
        while not all([await is_ready(app) for app in installation.apps.values()]):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert all([await is_ready(app) for app in installation.apps.values() for _ in range(20)])


async def test_conversations_of_many_people_at_once(installation: Installation) -> None:
    app = installation.apps["conversation"]

    async def talk(number: int) -> None:
        token = installation.issuer.token(tenant_id=None, subject=f"user:{uuid4()}", role="member")
        async with client(app, token) as http:
            begun = await http.post("/api/v1/conversations", json={"title": f"talk {number}"})
            assert begun.status_code == httpx.codes.CREATED, begun.text
            path = f"/api/v1/conversations/{begun.json()['conversation_id']}"
            for item in range(5):
                output = {"id": f"m{item}", "data": {"role": "user", "content": f"word {number} {item}"}}
                answer = await http.post(f"{path}/items", json={"items": [output]})
                assert answer.status_code == httpx.codes.OK, answer.text
            stored = (await http.get(f"{path}/items")).json()
            assert [one["data"]["content"] for one in stored["items"]] == [
                f"word {number} {item}" for item in range(5)
            ]
            listed = (await http.get("/api/v1/conversations")).json()
            assert len(listed["items"]) == 1
            assert (await http.delete(path)).is_success
            assert (await http.get(path)).status_code == httpx.codes.NOT_FOUND

    # Four times over, and never more at once than the service has connections: nobody waits for one.
    for _ in range(4):
        await asyncio.gather(*(talk(number) for number in range(PEOPLE)))


async def test_people_sign_up_and_in_and_are_written_to(installation: Installation) -> None:
    app = installation.apps["auth"]
    emails = [f"person{number}@example.com" for number in range(PEOPLE)]
    async with client(app) as http:

        async def post(path: str, **body: object) -> dict[str, Any]:
            answer = await http.post(f"/api/v1/auth/{path}", json=body)
            assert answer.is_success, answer.text
            given: dict[str, Any] = answer.json() if answer.content else {}
            return given

        # Hashing passwords takes the machine whole: one after the other, all else at once.
        for email in emails:
            await post("register", email=email, password=PASSWORD, tenant_name=f"Bakery of {email}")
        await asyncio.gather(
            *(post("email/verify", token=token) for token in await mail_tokens(installation))
        )

        async def live(session: dict[str, Any]) -> None:
            for _ in range(3):
                session = await post("refresh", refresh_token=session["refresh_token"])
            bearer = {"Authorization": f"Bearer {session['access_token']}"}
            me = await http.get("/api/v1/auth/me", headers=bearer)
            assert me.status_code == httpx.codes.OK, me.text

        sessions = [await post("token", email=email, password=PASSWORD) for email in emails]
        await asyncio.gather(*map(live, sessions))
    # Through the outbox, the relay, the stream, and the consumer's own transactions.
    await eventually(installation.direct["notification"], "select id from deliveries", PEOPLE)


async def mail_tokens(installation: Installation) -> list[str]:
    """Return the tokens in the mails that auth wants to be sent."""
    key: SecretStr = installation.apps["auth"].state.resources.settings.event_sealing_key
    connection = await asyncpg.connect(installation.direct["auth"])
    try:
        rows = await connection.fetch("select data from outbox where data::text like '%email_verification%'")
    finally:
        await connection.close()
    found = [jose.parse_object(row["data"].encode()) for row in rows]
    return [decrypt(key, str(one["token"]), context=str(one["recipient"])) for one in found]


async def test_the_operators_commands(
    pgbouncer: Any, installation: Installation, programs: ForkServer, tmp_path: Path
) -> None:
    settings = installation.apps["auth"].state.resources.settings
    environment = {"PATH": os.environ["PATH"], **environment_of(settings)}
    names = ("--email", "owner@example.com", "--tenant-name", "Seeded")
    for command in (("users", "seed", *names, "--print-password"), ("tenants", "list")):
        log = tmp_path / command[0]
        pid = programs.start(environment, log, ["auth", *command])
        assert await asyncio.to_thread(exit_code, programs, pid) == 0
        assert "seeded" in log.read_text()


async def test_every_transaction_is_guarded_and_none_beside_it(
    pgbouncer: Any, migrated_through: dict[str, str]
) -> None:
    url = pgbouncer.url(f"conversation-{pgbouncer.statements}")
    database = Database(url, name="tests", prepared_statements=pgbouncer.statements > 0)

    async def guarded() -> tuple[object, ...]:
        async with database.begin() as session:
            return tuple((await session.execute(text(SESSION_SETTINGS))).one())

    assert set(await asyncio.gather(*(guarded() for _ in range(15)))) == {("1min", "off")}
    await database.close()
    # Whoever else comes through the same pool has the server's own settings.
    stranger = await asyncpg.connect(url, statement_cache_size=0)
    try:
        timeouts = [await stranger.fetchrow("show idle_in_transaction_session_timeout") for _ in range(10)]
    finally:
        await stranger.close()
    assert {row[0] for row in timeouts if row} == {"0"}


def test_the_pooler_gets_no_request_that_it_refuses(pgbouncer: Any, installation: Installation) -> None:
    output = Path(pgbouncer.log).read_text()
    assert "unsupported startup parameter" not in output
    assert "prepared statement" not in output

"""A replica that cannot start all the runs at once that are asked for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from uuid import UUID, uuid4

import httpx
import pytest
from chat_agent.api import deadlines
from chat_agent.main import create_app
from chat_agent.runs import leases
from chat_agent.settings import Settings
from servicekit import postgres
from servicekit.database import Database
from sqlalchemy import text
from testkit.app import client, running
from testkit.databases import query
from testkit.eventually import until
from testkit.issuer import Issuer

CONNECTIONS = 2
LEASE_SECONDS = 2
LEASE = "select attempt, lease_expires_at from runs where id = $1"


@pytest.fixture
async def replica(settings: Settings, issuer: Issuer) -> AsyncIterator[tuple[Database, httpx.AsyncClient]]:
    """A replica with few connections, and somebody's client of it."""
    few = {"database_pool_size": CONNECTIONS // 2, "run_lease_seconds": LEASE_SECONDS, "run_workers": False}
    small = settings.model_copy(update=few)
    token = issuer.token(tenant_id=uuid4(), subject=f"user:{uuid4()}", role="member")
    async with running(create_app(small)) as app, client(app, token) as http:
        yield app.state.resources.database, http


@pytest.fixture
def production_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a connection as long as in production."""
    monkeypatch.setattr(postgres, "CONNECT_SECONDS", 5)


class Holder:
    """Somebody who holds a connection until told to let go."""

    def __init__(self, database: Database) -> None:
        self.holds, self.released = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._hold(database))

    async def _hold(self, database: Database) -> None:
        async with database.begin() as session:
            await session.execute(text("select 1"))
            self.holds.set()
            await self.released.wait()


@pytest.fixture
async def holder(replica: tuple[Database, httpx.AsyncClient]) -> AsyncIterator[Callable[[], Holder]]:
    """Make holders, which let go when the test is over."""
    holders: list[Holder] = []

    def make() -> Holder:
        holders.append(Holder(replica[0]))
        return holders[-1]

    yield make
    for one in holders:
        one.released.set()
    await asyncio.gather(*(one.task for one in holders), return_exceptions=True)


@pytest.mark.parametrize("is_first", [True, False], ids=["first request", "later one"])
@pytest.mark.usefixtures("production_waits")
async def test_busy_connections_are_429_with_retry_after(
    replica, holder, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    if not is_first:
        # What a process reads once, it knows by now.
        (await replica[1].post("/api/v1/chat", json={"message": "Hi"})).raise_for_status()
    returned = holder()
    returned.released.set()
    await returned.task
    # It was returned lately, however long the machine has stood still since.
    monkeypatch.setattr(postgres, "CONNECT_SECONDS", 3600)
    for holding in [holder() for _ in range(CONNECTIONS)]:
        await holding.holds.wait()
    answer = await replica[1].post("/api/v1/chat/stream", json={"message": "Hi"})
    assert (answer.status_code, answer.json()["code"]) == (429, "run_capacity_exceeded")
    assert 5 <= int(answer.headers["Retry-After"]) <= 10


@pytest.mark.usefixtures("production_waits")
async def test_a_database_that_does_not_answer_is_503(replica, holder) -> None:
    for holding in [holder() for _ in range(CONNECTIONS)]:
        await holding.holds.wait()
    answer = await replica[1].post("/api/v1/chat/stream", json={"message": "Hi"})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_a_run_that_cannot_start_in_time_is_429_and_leaves_nothing(
    replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, http = replica
    run = (await http.post("/api/v1/runs", json={"message": "Hi"})).json()
    monkeypatch.setattr(deadlines, "RESPONSE_SECONDS", 0.5)
    request = {"message": "Hi again", "conversation_id": run["conversation_id"]}
    async with database.begin() as session:
        await leases.lock_conversation(session, UUID(run["conversation_id"]))
        answer = await http.post("/api/v1/chat/stream", json=request)
    assert (answer.status_code, answer.json()["code"]) == (429, "run_capacity_exceeded")
    assert 5 <= int(answer.headers["Retry-After"]) <= 10
    assert [one["id"] for one in (await http.get("/api/v1/runs")).json()["items"]] == [run["id"]]


async def test_leases_are_renewed_while_requests_use_all_connections(replica, holder, settings) -> None:
    database = settings.database_url.get_secret_value()
    run = await replica[1].post("/api/v1/runs", json={"message": "Hi [sandbox: tokens=40, pause-after=20]"})
    for holding in [holder() for _ in range(CONNECTIONS)]:
        await holding.holds.wait()
    (begun,) = await asyncio.to_thread(query, database, LEASE, run.json()["id"])

    def is_renewed() -> bool:
        (now,) = query(database, LEASE, run.json()["id"])
        later = now["lease_expires_at"] - begun["lease_expires_at"]
        return later.total_seconds() > LEASE_SECONDS and now["attempt"] == begun["attempt"]

    await asyncio.to_thread(until, is_renewed)


async def test_an_approval_that_cannot_be_stored_in_time_is_429_and_stays_pending(
    replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, http = replica
    answer = await http.post(
        "/api/v1/chat", json={"message": "Forget it [sandbox: call=forget_conversation]"}
    )
    assert answer.status_code == 202, answer.text
    path = f"/api/v1/runs/{answer.json()['run_id']}"
    (approval,) = answer.json()["approvals"]
    decide = f"{path}/approvals/{approval['id']}"
    async with database.begin() as session:
        await session.execute(text("select from runs for update"))
        with monkeypatch.context() as patch:
            patch.setattr(deadlines, "RESPONSE_SECONDS", 0.5)
            refusal = await http.post(decide, json={"approve": False})
    assert (refusal.status_code, refusal.json()["code"]) == (429, "run_capacity_exceeded")
    (unanswered,) = (await http.get(path)).json()["approvals"]
    assert unanswered["status"] == "pending"
    assert (await http.post(decide, json={"approve": False})).status_code == 200


async def test_a_replay_that_cannot_begin_in_time_is_503(
    replica, holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = (await replica[1].post("/api/v1/runs", json={"message": "Hi"})).json()
    for holding in [holder() for _ in range(CONNECTIONS)]:
        await holding.holds.wait()
    monkeypatch.setattr(deadlines, "RESPONSE_SECONDS", 0.5)
    answer = await replica[1].get(f"/api/v1/runs/{run['id']}/events")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert 5 <= int(answer.headers["Retry-After"]) <= 10

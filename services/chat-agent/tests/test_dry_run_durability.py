"""A dry run goes on where its process is lost, and nothing of it remains."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from chat_agent.models import Base
from chat_agent.settings import Settings
from chat_agent.worker import retention_rules
from redis import Redis
from servicekit.database import Database
from servicekit.retention import RetentionWorker
from testkit.databases import query
from testkit.eventually import until
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES
from testkit.owned_rows import rows_with
from testkit.service_process import ServiceProcess

from .client_helpers import ENDLESS, RUNS, clients_with, error_of
from .test_agent_definitions import AGENTS, definition, publish, save
from .test_dry_runs import dry_run
from .test_durable import (  # noqa: F401  # fixtures
    NEVER,
    PAUSING,
    database,
    is_whole,
    marks,
    other,
    replica,
    rest,
    settings,
)
from .test_erasure_walk import TABLES as OWNED_TABLES

Replica = Callable[..., ServiceProcess]
At = Callable[[str], httpx.Client]
ARCHIVIST, BAKER = "You are the archivist of Wilhelmine.", "You are the baker."
ALL_TABLES = list(Base.metadata.tables.values())


@pytest.fixture(scope="module")
def model_url(recorded_model_url: str) -> str:
    return recorded_model_url


@pytest.fixture(autouse=True)
def _forget_calls(model_calls: list[dict[str, Any]]) -> None:
    model_calls.clear()


@pytest.fixture
def at(issuer: Issuer, tenant: UUID) -> Iterator[At]:
    """Return an author's client of any replica."""
    token = issuer.token(tenant_id=tenant, subject=f"user:{uuid4()}", role="admin")
    with clients_with(token) as client_at:
        yield client_at


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


@pytest.fixture
def resume_until(model_url: str) -> Callable[[Callable[[], Any]], None]:
    """Return a function that resumes the model whenever it pauses, until a condition holds."""

    def resume(condition: Callable[[], Any]) -> None:
        def step() -> Any:
            httpx.post(f"{model_url}/_sandbox/resume", verify=NO_AUTHORITIES, timeout=60).raise_for_status()
            return condition()

        until(step)

    return resume


def row_of(database: str, tenant: UUID) -> Any:  # noqa: F811
    """Return the row of the tenant's only run; none before it is there."""
    return next(iter(query(database, "select * from runs where tenant_id = $1", tenant)), None)


def instructions_of(calls: list[dict[str, Any]]) -> set[str]:
    return {call["instructions"] for call in calls}


def test_it_goes_on_with_its_definition_after_a_kill(
    replica: Replica,  # noqa: F811
    other: str,  # noqa: F811
    at: At,
    tenant: UUID,
    database: str,  # noqa: F811
    model_calls: list[dict[str, Any]],
    pool: ThreadPoolExecutor,
    resume_until: Callable[..., None],
) -> None:
    lost, here = replica(), at(other)
    save(here, "support", instructions=ARCHIVIST)
    waiting = pool.submit(dry_run, at(lost.url), PAUSING)
    until(lambda: model_calls)
    save(here, "support", instructions=BAKER)
    publish(here, "support")
    lost.kill()
    with pytest.raises(httpx.TransportError):
        waiting.result()
    resume_until(lambda: row_of(database, tenant)["status"] != "running")
    run = row_of(database, tenant)
    assert (run["status"], run["error_code"]) == ("completed", None)
    assert run["attempt"] == len(model_calls) > 1
    assert instructions_of(model_calls) == {ARCHIVIST}
    received = rest(here, str(run["id"]))
    assert is_whole(received)
    assert received[-1].data["agent"] == "support"


def test_a_replica_that_stops_answers_who_waits_for_it(
    replica: Replica,  # noqa: F811
    other: str,  # noqa: F811
    at: At,
    tenant: UUID,
    database: str,  # noqa: F811
    model_calls: list[dict[str, Any]],
    pool: ThreadPoolExecutor,
    resume_until: Callable[..., None],
) -> None:
    leaving = replica(run_lease_seconds=NEVER)
    written = definition(instructions=ARCHIVIST)
    waiting = pool.submit(dry_run, at(leaving.url), PAUSING, definition=written)
    until(lambda: model_calls)
    leaving.terminate()
    until(lambda: row_of(database, tenant)["attempt"] > 1)
    resume_until(waiting.done)
    response = waiting.result()
    assert response.status_code == 200, response.text
    assert response.json()["text"]
    assert instructions_of(model_calls) == {ARCHIVIST}
    assert error_of(at(other).get(f"{AGENTS}/support")) == (404, "agent_not_found")
    assert leaving.wait() == 0


def running(
    pool: ThreadPoolExecutor,
    client: httpx.Client,
    database: str,  # noqa: F811
    tenant: UUID,
) -> tuple[Future[httpx.Response], dict[str, Any]]:
    """Start a dry run that does not end by itself; its answer, and its row."""
    written = definition(instructions=ARCHIVIST)
    waiting = pool.submit(dry_run, client, ENDLESS, definition=written)
    return waiting, until(lambda: row_of(database, tenant))


def test_others_cannot_see_it_and_its_author_no_definition(
    admin: httpx.Client,
    person: Callable[..., httpx.Client],
    tenant: UUID,
    database: str,  # noqa: F811
    pool: ThreadPoolExecutor,
) -> None:
    waiting, run = running(pool, admin, database, tenant)
    assert "Wilhelmine" in run["definition"]
    path, everywhere = f"{RUNS}/{run['id']}", {"scope": "tenant"}
    stranger = person(uuid4(), role="owner")
    for request in (
        lambda: stranger.get(path),
        lambda: stranger.get(f"{path}/events"),
        lambda: stranger.post(f"{path}/cancel"),
    ):
        assert error_of(request()) == (404, "run_not_found")
    assert stranger.get(RUNS, params=everywhere).json()["items"] == []
    listed, own = admin.get(RUNS, params=everywhere), admin.get(path)
    assert [one["id"] for one in listed.json()["items"]] == [own.json()["id"]] == [str(run["id"])]
    assert "Wilhelmine" not in listed.text + own.text
    assert admin.post(f"{path}/cancel").status_code == 200
    assert error_of(waiting.result()) == (409, "run_cancelled")


@pytest.mark.parametrize(
    ("message", "status"),
    [("Wilhelmine", 200), ("Wilhelmine [sandbox: call=current_time]", 200), ("[sandbox: error=400]", 502)],
)
def test_nothing_of_it_remains(
    admin: httpx.Client,
    tenant: UUID,
    settings: Settings,  # noqa: F811
    database: str,  # noqa: F811
    redis_url: str,
    other_services: Any,
    message: str,
    status: int,
) -> None:
    written = definition(instructions=ARCHIVIST, tools=[{"name": "current_time"}])
    assert dry_run(admin, message, definition=written).status_code == status
    run_id = row_of(database, tenant)["id"]
    assert rows_with(database, ALL_TABLES, "Wilhelmine") == []
    assert query(database, "select 1 from runs where id = $1 and definition is null", run_id)
    until(lambda: not other_services.items)
    with Redis.from_url(redis_url) as redis:
        assert 0 < redis.ttl(next(redis.scan_iter(f"run:*{run_id}*:events"))) <= 60
    query(database, "update runs set ended_at = now() - interval '10 years' where id = $1", run_id)
    asyncio.run(delete_expired(settings))
    assert rows_with(database, OWNED_TABLES, str(run_id)) == []


async def delete_expired(settings: Settings) -> None:  # noqa: F811
    expiring = Database(settings.database_url, name="test")
    await RetentionWorker(expiring, rules=retention_rules(settings)).step()
    await expiring.close()

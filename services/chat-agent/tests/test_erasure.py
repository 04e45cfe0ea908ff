"""What becomes of runs when auth tells that somebody has left, or that a tenant is no more."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from agents import Agent
from chat_agent.agents import AGENTS
from chat_agent.agents.tool import RunContext, tool
from chat_agent.erasure.handlers import HANDLERS
from chat_agent.erasure.worker import create_erasure_worker, deleted_tenants_rules
from chat_agent.event_log.store import EventStore, make_event
from chat_agent.memory.erasure import memory_rules
from chat_agent.models import Base
from chat_agent.settings import Settings
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from servicekit.database import Database
from servicekit.erasure import ANONYMOUS_SUBJECT
from servicekit.events.outbox import ReceivedEvent
from servicekit.retention import RetentionWorker
from testkit.databases import query
from testkit.eventually import until

from .client_helpers import read_run, start_run, start_streaming_run, wait_until_finished
from .conftest import TENANT

Person = Callable[..., httpx.Client]
Hear = Callable[..., None]
PRIVATE = "my canary is called Wilhelmine"


def received(type: str, **data: Any) -> ReceivedEvent:
    return ReceivedEvent(
        id=uuid4(), type=type, source="acme/auth", subject="-", time=datetime.now(UTC), data=data
    )


def left(user_id: str, *tenant_ids: UUID) -> ReceivedEvent:
    ids = [str(tenant_id) for tenant_id in tenant_ids]
    return received("auth.user.deleted.v1", user_id=user_id, tenant_ids=ids)


def deleted(tenant_id: UUID, version: int, after: timedelta | None = None) -> ReceivedEvent:
    purge_after = {} if after is None else {"purge_after": (datetime.now(UTC) + after).isoformat()}
    type = "auth.tenant.deleted.v1" if after is not None else "auth.tenant.reactivated.v1"
    return received(type, tenant_id=str(tenant_id), version=version, **purge_after)


@pytest.fixture
def database_url(settings: Settings) -> str:
    return settings.database_url.get_secret_value()


@pytest.fixture
def collect(settings: Settings) -> Hear:
    """Consume events as the consumer does, one transaction each."""

    async def handle(events: tuple[ReceivedEvent, ...]) -> None:
        database = Database(settings.database_url, name="test")
        for event in events:
            async with database.begin() as session:
                await HANDLERS[event.type](session, event)
        await database.close()

    return lambda *events: asyncio.run(handle(events))


@pytest.fixture
def forget(settings: Settings, redis_url: str) -> Callable[[], None]:
    """Return a function that runs one step of erasure and of retention."""

    async def step() -> None:
        database = Database(settings.database_url, name="test")
        async with AsyncRedis.from_url(redis_url) as redis:
            await create_erasure_worker(database, redis, settings).step()
        await RetentionWorker(database, rules=[*deleted_tenants_rules(), *memory_rules()]).step()
        await database.close()

    return lambda: asyncio.run(step())


def everything(database_url: str, redis_url: str) -> str:
    """Write down all that is kept, but for what the others were told and who has left."""
    rows = [
        str([tuple(row) for row in query(database_url, f"select * from {name}")])  # noqa: S608  # ours
        for name in Base.metadata.tables
        if name not in {"outbox", "leavers"}
    ]
    with Redis.from_url(redis_url) as redis:
        logs = [str(redis.xrange(key)) for key in redis.scan_iter("run:*:events")]
    return "".join((*rows, *logs))


def test_nothing_of_a_deleted_user_remains_but_usage(
    person: Person, collect: Hear, forget: Callable[[], None], database_url: str, redis_url: str
) -> None:
    user = f"user:{uuid4()}"
    ann, bob = person(subject=user), person(subject=f"user:{uuid4()}")
    mine = wait_until_finished(ann, start_run(ann, PRIVATE))
    feedback = {"rating": "down", "comment": PRIVATE}
    assert ann.put(f"/api/v1/runs/{mine['id']}/feedback", json=feedback).status_code == 200
    assert ann.post("/api/v1/memories", json={"text": PRIVATE}).status_code == 201
    theirs = wait_until_finished(bob, start_run(bob, "Hello, I am Bob"))
    assert PRIVATE in everything(database_url, redis_url)
    collect(left(user))
    until(lambda: forget() or user not in everything(database_url, redis_url))
    assert PRIVATE not in everything(database_url, redis_url)
    [stored] = query(database_url, "select * from runs where id = $1", UUID(mine["id"]))
    assert (stored["user_id"], stored["message"], stored["output"]) == (ANONYMOUS_SUBJECT, "", None)
    assert stored["status"] == "completed"
    admin = person(role="owner")
    [total] = admin.get("/api/v1/runs/totals", params={"scope": "tenant"}).json()
    assert total["runs"] == 2
    assert total["output_tokens"] == sum(run["usage"]["output_tokens"] for run in (mine, theirs))
    assert read_run(bob, theirs)["output"] == theirs["output"]
    assert ann.get(f"/api/v1/runs/{mine['id']}").status_code == 404


def test_what_runs_waits_or_is_next_stops_and_is_forgotten(
    person: Person,
    collect: Hear,
    forget: Callable[[], None],
    database_url: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @tool(needs_approval=True)
    async def pay(to: str) -> str:
        """Pay."""
        return to

    cashier = Agent[RunContext](name="cashier", instructions="You are a cashier.", tools=[pay])
    monkeypatch.setitem(AGENTS, "cashier", cashier)
    user = f"user:{uuid4()}"
    ann = person(subject=user)
    running = start_streaming_run(ann, conversation_id=str(uuid4()))
    queued = start_run(ann, PRIVATE, conversation_id=running["conversation_id"])
    waiting = wait_until_finished(ann, start_run(ann, "Do it [sandbox: call=pay]", agent_type="cashier"))
    assert [read_run(ann, run)["status"] for run in (running, queued, waiting)] == [
        "running",
        "queued",
        "waiting",
    ]
    collect(left(user))
    rows = "select id, status, user_id, message, state, prelude, stop from runs"
    until(lambda: forget() or {row["user_id"] for row in query(database_url, rows)} == {ANONYMOUS_SUBJECT})
    assert {(row["status"], row["message"], row["state"]) for row in query(database_url, rows)} == {
        ("cancelled", "", None)
    }
    assert query(database_url, "select * from approvals") == []
    assert query(database_url, "select * from tool_calls") == []
    assert PRIVATE not in everything(database_url, redis_url)
    events = query(database_url, "select data from outbox where type = 'chat.run.completed.v1'")
    assert len(events) == 3


def test_a_run_that_began_at_that_very_moment_is_stopped_and_forgotten_too(
    person: Person, collect: Hear, forget: Callable[[], None], database_url: str, redis_url: str
) -> None:
    user = f"user:{uuid4()}"
    ann = person(subject=user)
    collect(left(user))
    forget()
    start_streaming_run(ann)
    until(lambda: forget() or user not in everything(database_url, redis_url))
    [run] = query(database_url, "select * from runs")
    assert (run["status"], run["user_id"]) == ("cancelled", ANONYMOUS_SUBJECT)
    assert query(database_url, "select forgotten_at from leavers")[0]["forgotten_at"] is None
    query(database_url, "update leavers set heard_at = now() - interval '2 hours'")
    forget()
    assert query(database_url, "select forgotten_at from leavers")[0]["forgotten_at"] is not None


def test_an_event_that_comes_again_changes_nothing(
    person: Person, collect: Hear, forget: Callable[[], None], database_url: str
) -> None:
    user, bob = f"user:{uuid4()}", person()
    ann = person(subject=user)
    wait_until_finished(ann, start_run(ann))
    stored = wait_until_finished(bob, start_run(bob))
    for _ in range(2):
        collect(left(user), left(user))
        forget()
    assert read_run(bob, stored) == stored
    assert len(query(database_url, "select * from runs where user_id = $1", ANONYMOUS_SUBJECT)) == 1
    assert len(query(database_url, "select * from leavers")) == 1


async def test_what_was_about_to_be_written_into_a_forgotten_log_is_not(redis_url: str) -> None:
    run_id = uuid4()
    event = make_event(1, "run.completed", run_id, uuid4(), {"output": PRIVATE}, datetime.now(UTC))
    async with AsyncRedis.from_url(redis_url) as redis:
        log = EventStore(redis, run_id)
        assert await log.append(1, 60, [event]) == 1
        await log.delete(60)
        assert await log.append(1, 60, [event]) == -1
        assert await log.append(9, 60, [event]) == -1
        assert await log.last() is None


@pytest.mark.parametrize(
    ("events", "status", "stored"),
    [
        ([(2, timedelta(days=1))], "cancelled", 1),
        ([(2, timedelta(days=-1))], None, 0),
        # In whichever order they come, the newest counts.
        ([(3, None), (2, timedelta(days=-1))], "completed", 1),
    ],
)
def test_the_runs_of_a_deleted_tenant_stop_and_go_when_its_time_is_over(
    person: Person,
    collect: Hear,
    forget: Callable[[], None],
    database_url: str,
    events: list[tuple[int, timedelta | None]],
    status: str | None,
    stored: int,
) -> None:
    tenant_id = uuid4()
    ann, bob = person(tenant_id=tenant_id), person(tenant_id=TENANT)
    run = start_streaming_run(ann) if status != "completed" else start_run(ann)
    others = wait_until_finished(bob, start_run(bob))
    for client in (ann, bob):
        assert client.post("/api/v1/memories", json={"text": PRIVATE}).status_code == 201
    collect(*(deleted(tenant_id, version, after) for version, after in events))
    if status == "completed":
        wait_until_finished(ann, run)
    rows = "select status from runs where tenant_id = $1"
    expected = [status] if status else []
    until(lambda: forget() or [row["status"] for row in query(database_url, rows, tenant_id)] == expected)
    assert len(query(database_url, rows, tenant_id)) == stored
    memories = "select id from memories where tenant_id = $1"
    until(lambda: forget() or len(query(database_url, memories, tenant_id)) == stored)
    assert query(database_url, memories, TENANT)
    assert read_run(bob, others) == others


def test_a_tenant_that_went_with_somebody_is_gone_for_ever(
    person: Person, collect: Hear, forget: Callable[[], None], database_url: str
) -> None:
    alone = uuid4()
    another = person(tenant_id=alone)
    wait_until_finished(another, start_run(another))
    collect(left(f"user:{uuid4()}", alone), deleted(alone, 9))
    forget()
    assert query(database_url, "select * from runs where tenant_id = $1", alone) == []

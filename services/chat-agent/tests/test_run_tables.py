"""What the database itself makes sure of, and how it gets from one revision to the next and back."""

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from alembic import command
from chat_agent.models import FINISHED, NEW, TRANSITIONS, RunStatus
from chat_agent.runs.leases import NEXT_DUE
from chat_agent.settings import Settings
from testkit.databases import Databases, query

SERVICE = Path(__file__).parents[1]
WAYS = {
    RunStatus.RUNNING: (),
    RunStatus.QUEUED: (),
    RunStatus.WAITING: (RunStatus.RUNNING,),
    **dict.fromkeys(FINISHED, (RunStatus.RUNNING,)),
}
BEGIN = """
insert into runs (id, tenant_id, user_id, conversation_id, agent, model, message, status)
values ($1, gen_random_uuid(), 'user:ann', $2, 'triage', 'sandbox-large', 'Hi', $3)
"""
GO = """
update runs set status = $2, ended_at = case when $2 in ('completed', 'failed', 'cancelled') then now() end
where id = $1
"""


@pytest.fixture(scope="module")
def database(settings: Settings) -> str:
    return settings.database_url.get_secret_value()


def a_run(database: str, status: str, conversation_id: UUID | None = None) -> UUID:
    """Bring a new run to a state, by steps that are allowed."""
    run_id = uuid4()
    first, *more = (*WAYS[status], status)
    query(database, BEGIN, run_id, conversation_id or uuid4(), first)
    for step in more:
        query(database, GO, run_id, step)
    return run_id


@pytest.mark.parametrize("to", RunStatus)
@pytest.mark.parametrize("was", RunStatus)
def test_a_run_takes_only_the_steps_that_it_may(database: str, was: str, to: str) -> None:
    run_id = a_run(database, was)
    if (was, to) in TRANSITIONS:
        query(database, GO, run_id, to)
    else:
        with pytest.raises(asyncpg.CheckViolationError, match=f"a run cannot go from {was} to {to}"):
            query(database, GO, run_id, to)
    (row,) = query(database, "select status from runs where id = $1", run_id)
    assert row["status"] == (to if (was, to) in TRANSITIONS else was)


@pytest.mark.parametrize("status", RunStatus)
def test_a_run_begins_only_as_it_may(database: str, status: str) -> None:
    begin = (database, BEGIN, uuid4(), uuid4(), status)
    if (NEW, status) in TRANSITIONS:
        query(*begin)
    else:
        with pytest.raises(asyncpg.CheckViolationError, match=f"a run cannot go from new to {status}"):
            query(*begin)


@pytest.mark.parametrize("second", [RunStatus.RUNNING, RunStatus.WAITING])
@pytest.mark.parametrize("first", [RunStatus.RUNNING, RunStatus.WAITING])
def test_only_one_run_at_a_time_is_under_way_in_a_conversation(
    database: str, first: str, second: str
) -> None:
    conversation_id = uuid4()
    a_run(database, first, conversation_id)
    with pytest.raises(asyncpg.UniqueViolationError):
        a_run(database, second, conversation_id)
    a_run(database, RunStatus.QUEUED, conversation_id)


@pytest.mark.parametrize(
    "change",
    [
        "status = 'asleep'",
        "stop = 'please'",
        "ended_at = now()",
        "status = 'completed'",
    ],
)
def test_what_makes_no_sense_is_not_stored(database: str, change: str) -> None:
    run_id = a_run(database, RunStatus.RUNNING)
    with pytest.raises(asyncpg.CheckViolationError):
        query(database, f"update runs set {change} where id = $1", run_id)  # noqa: S608  # ours


def test_the_run_that_is_due_first_says_when_to_look_again(database: str) -> None:
    def seconds_until_due() -> float | None:
        ((seconds,),) = query(database, NEXT_DUE.text)
        return None if seconds is None else float(seconds)

    query(database, "delete from runs")
    assert seconds_until_due() is None
    waiting, running = a_run(database, RunStatus.WAITING), a_run(database, RunStatus.RUNNING)
    query(database, "update runs set waiting_until = now() + interval '2 h' where id = $1", waiting)
    query(database, "update runs set lease_expires_at = now() + interval '1 d' where id = $1", running)
    assert 7000 < (seconds_until_due() or 0) <= 7200
    query(database, "update runs set lease_expires_at = now() + interval '1 h' where id = $1", running)
    assert 3400 < (seconds_until_due() or 0) <= 3600
    query(database, "update runs set stop = 'cancel' where id = $1", waiting)
    assert seconds_until_due() == 0
    query(database, "update runs set stop = null where id = $1", waiting)
    a_run(database, RunStatus.QUEUED)
    assert seconds_until_due() == 0


OLD_RUN = """
insert into runs (id, tenant_id, user_id, conversation_id, agent, model, message, idempotency_key, status,
    owner, lease_expires_at, ended_at)
values ($1, gen_random_uuid(), 'user:ann', gen_random_uuid(), 'triage', 'sandbox-large', 'Hi', 'key', $2,
    'replica', now(), case when $2 <> 'running' then now() end)
"""
QUERY = """
insert into approvals (id, run_id, call_id, agent, name, arguments)
values (gen_random_uuid(), $1, 'call_1', 'triage', 'forget_conversation', '{}')
"""
CALLED = """
insert into tool_calls (run_id, call_id, name, arguments) values ($1, 'call_1', 'forget_conversation', '{}')
"""


@pytest.fixture
def old(databases: Databases) -> Any:
    """Return a database at the first revision, and how to bring it to another."""
    url = databases.fresh("chat-agent-old")
    go = {"up": command.upgrade, "down": command.downgrade, "check": command.check}

    def move(way: str, *revision: str) -> None:
        databases.alembic(SERVICE, url, lambda config: go[way](config, *revision))

    move("up", "0001")
    yield url, move
    move("down", "base")


def test_the_migrations_make_the_tables_of_the_models(old: Any) -> None:
    _, move = old
    move("up", "head")
    move("check")


def test_runs_outlive_the_way_up_and_down(old: Any) -> None:
    url, move = old
    ids = {status: uuid4() for status in (RunStatus.RUNNING, *sorted(FINISHED))}
    for status, run_id in ids.items():
        query(url, OLD_RUN, run_id, status)
    before = query(url, "select * from runs order by id")
    move("up", "0002")
    columns = "position, attempt, losses, started_at = created_at as is_started"
    rows = query(url, f"select {columns} from runs order by position")  # noqa: S608  # ours
    assert [row["position"] for row in rows] == [1, 2, 3, 4]
    assert {(row["attempt"], row["losses"], row["is_started"]) for row in rows} == {(1, 0, True)}
    move("down", "0001")
    assert query(url, "select * from runs order by id") == before


def test_what_the_older_schema_does_not_know_is_cancelled_on_the_way_down(old: Any) -> None:
    url, move = old
    move("up", "0002")
    ids = {status: a_run(url, status) for status in RunStatus}
    query(url, QUERY, ids[RunStatus.WAITING])
    query(url, CALLED, ids[RunStatus.RUNNING])
    move("down", "0001")
    rows = query(url, "select id, status, owner, lease_expires_at, ended_at from runs")
    now = {row["id"]: row for row in rows}
    expected = {RunStatus.QUEUED: "cancelled", RunStatus.WAITING: "cancelled"}
    assert {status: now[ids[status]]["status"] for status in RunStatus} == {
        status: expected.get(status, status) for status in RunStatus
    }
    for row in rows:
        assert (row["ended_at"] is None) == (row["status"] == RunStatus.RUNNING)
        assert row["owner"] is not None
        assert row["lease_expires_at"] is not None
    move("up", "0002")
    query(url, GO, ids[RunStatus.RUNNING], RunStatus.WAITING)

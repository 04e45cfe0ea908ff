"""Runs that are begun, read and cancelled by whoever they belong to."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from agents import Agent
from chat_agent.agents import AGENTS
from chat_agent.agents.tool import RunContext, tool
from chat_agent.main import create_app
from chat_agent.settings import Settings
from redis import Redis
from testkit.databases import query
from testkit.live_server import serving

from .talking import (
    CHAT,
    ENDLESS,
    RUNS,
    STREAM,
    at_once,
    begin,
    cancel,
    code,
    ended,
    heard,
    hearing,
    of_type,
    read,
    said_in,
    speaking,
    until,
)

Person = Callable[..., httpx.Client]


def test_a_run_that_is_begun_can_be_found_where_it_is_said_to_be(ann: httpx.Client) -> None:
    answer = ann.post(RUNS, json={"message": "Hello"})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"{RUNS}/{answer.json()['id']}"
    assert (answer.json()["status"], answer.json()["output"]) == ("running", None)
    assert ann.get(answer.headers["location"]).json()["message"] == "Hello"


def test_a_run_goes_on_without_a_listener(ann: httpx.Client, neighbours) -> None:
    run = begin(ann)
    done = until(lambda: (now := read(ann, run))["status"] == "completed" and now)
    assert neighbours.said(run["conversation_id"]) == [("user", "Hello"), ("assistant", done["output"])]
    assert done["duration_ms"] > 0
    assert done["usage"]["output_tokens"] > 0


def test_what_happened_before_anybody_listened_is_heard(ann: httpx.Client) -> None:
    run = begin(ann)
    ended(ann, run)
    told = heard(ann, run)
    assert (told[0].type, told[-1].type) == ("run.started", "run.completed")
    assert [event.id for event in told] == list(range(1, len(told) + 1))


def test_the_same_key_is_the_same_run(ann: httpx.Client, neighbours) -> None:
    key = {"Idempotency-Key": "once"}
    first, again = (ann.post(RUNS, json={"message": "Once"}, headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    ended(ann, first.json())
    assert [role for role, _ in neighbours.said(first.json()["conversation_id"])] == ["user", "assistant"]


def test_the_same_key_for_another_message_is_a_conflict(ann: httpx.Client) -> None:
    key = {"Idempotency-Key": "once"}
    ann.post(RUNS, json={"message": "Once"}, headers=key)
    other = ann.post(RUNS, json={"message": "Twice"}, headers=key)
    assert code(other) == (409, "idempotency_conflict")


def test_the_same_key_many_times_at_once_is_one_run(ann: httpx.Client, neighbours, other_url: str) -> None:
    def ask(at: str) -> httpx.Response:
        return ann.post(f"{at}{RUNS}", json={"message": "All at once"}, headers={"Idempotency-Key": "once"})

    answers = at_once([lambda: ask(""), lambda: ask(other_url)] * 10)
    assert {answer.status_code for answer in answers} == {202}
    (run_id,) = {answer.json()["id"] for answer in answers}
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    run = ended(ann, {"id": run_id})
    # Those of the tests before may still be at work.
    asked = [id_ for id_ in neighbours.items if ("user", "All at once") in neighbours.said(id_)]
    assert asked == [run["conversation_id"]]
    assert len(neighbours.items[run["conversation_id"]]) == 2


@pytest.mark.parametrize("on_conflict", ["enqueue", "reject", "interrupt", "rollback"])
def test_the_same_key_many_times_at_once_does_not_stand_in_its_own_way(
    ann: httpx.Client, neighbours, other_url: str, on_conflict: str
) -> None:
    conversation_id = ended(ann, begin(ann))["conversation_id"]
    asked = {"message": "Once", "conversation_id": conversation_id, "on_conflict": on_conflict}

    def ask(at: str) -> httpx.Response:
        return ann.post(f"{at}{RUNS}", json=asked, headers={"Idempotency-Key": "once"})

    answers = at_once([lambda: ask(""), lambda: ask(other_url)] * 10)
    assert {answer.status_code for answer in answers} == {202}, [answer.text for answer in answers]
    (run_id,) = {answer.json()["id"] for answer in answers}
    assert ended(ann, {"id": run_id})["status"] == "completed"
    assert [role for role, _ in neighbours.said(conversation_id)] == ["user", "assistant"] * 2


def test_what_is_not_yours_does_not_exist(person: Person) -> None:
    ann = f"user:{uuid4()}"
    run = begin(person(subject=ann))
    strangers = (person(), person(role="owner"), person(tenant_id=uuid4(), subject=ann))
    for client, run_id in [*((one, run["id"]) for one in strangers), (person(), str(uuid4()))]:
        of_it = f"{RUNS}/{run_id}"
        for answer in (
            client.get(of_it),
            client.get(f"{of_it}/events"),
            client.post(f"{of_it}/cancel"),
            client.post(f"{of_it}/approvals/{uuid4()}", json={"approve": True}),
        ):
            assert code(answer) == (404, "unknown_run"), answer.request.url


def test_a_viewer_may_neither_begin_nor_cancel(person: Person) -> None:
    ann = f"user:{uuid4()}"
    run = begin(person(subject=ann))
    viewer = person(subject=ann, role="viewer")
    assert code(viewer.post(RUNS, json={"message": "Hello"})) == (403, "forbidden")
    assert code(cancel(viewer, run)) == (403, "forbidden")
    assert viewer.get(f"{RUNS}/{run['id']}").status_code == 200


def test_what_was_said_before_a_run_was_cancelled_is_kept_and_counted(ann: httpx.Client, neighbours) -> None:
    run = speaking(ann)
    assert cancel(ann, run).status_code == 200
    told = heard(ann, run)
    last, said = told[-1], said_in(told)
    assert (last.type, last.data["output"]) == ("run.cancelled", said)
    assert said
    assert [event.id for event in told] == list(range(1, len(told) + 1))
    assert of_type(told, "item.completed")[-1]["item"]["incomplete"] is True
    kept = neighbours.items[run["conversation_id"]][-1]["data"]
    assert (kept["role"], kept["status"], kept["content"][0]["text"]) == ("assistant", "incomplete", said)
    now = read(ann, run)
    assert (now["status"], now["output"], now["usage"]) == ("cancelled", said, last.data["usage"])
    assert now["usage"]["estimated"] is True
    assert now["usage"]["estimated_output_tokens"] == now["usage"]["output_tokens"] > 0


def test_a_cancelled_run_is_told_to_who_counts(ann: httpx.Client, redis_url: str) -> None:
    run = speaking(ann)
    cancel(ann, run)
    used = ended(ann, run)["usage"]
    with Redis.from_url(redis_url) as redis:
        until(lambda: redis.xlen("events:chat-agent"))
        ((_, fields),) = redis.xrange("events:chat-agent")
    told = json.loads(fields[b"data"])
    assert (fields[b"type"], told["run_id"]) == (b"chat.run.completed.v1", run["id"])
    assert (told["status"], told["estimated"], told["usage"]) == ("cancelled", True, used["models"])


def test_a_run_can_be_cancelled_at_any_replica(ann: httpx.Client, other_url: str) -> None:
    run = speaking(ann)
    with hearing(ann, run) as told:
        assert cancel(ann, run, at=other_url).status_code == 200
        assert list(told)[-1].type == "run.cancelled"


def test_who_waits_for_the_whole_answer_hears_that_it_was_cancelled(ann: httpx.Client) -> None:
    def ask() -> httpx.Response:
        return ann.post(CHAT, json={"message": ENDLESS})

    def stop() -> httpx.Response:
        (run,) = until(lambda: ann.get(RUNS, params={"status": "running"}).json()["items"])
        return cancel(ann, run)

    answer, stopped = at_once([ask, stop])
    assert stopped.status_code == 200
    assert code(answer) == (409, "run_cancelled")


def test_a_conversation_goes_on_after_a_cancelled_run(ann: httpx.Client, neighbours) -> None:
    run = speaking(ann)
    cancel(ann, run)
    ended(ann, run)
    again = begin(ann, "And now?", conversation_id=run["conversation_id"])
    assert ended(ann, again)["status"] == "completed"
    roles = [role for role, _ in neighbours.said(run["conversation_id"])]
    assert roles == ["user", "assistant", "user", "assistant"]


def test_what_is_over_cannot_be_cancelled(ann: httpx.Client) -> None:
    completed, cancelled = begin(ann), speaking(ann)
    ended(ann, completed)
    cancel(ann, cancelled)
    ended(ann, cancelled)
    for run in (completed, cancelled):
        assert code(cancel(ann, run)) == (409, "run_over")


def test_a_run_that_waits_for_its_turn_is_cancelled_at_once(ann: httpx.Client, neighbours) -> None:
    first = speaking(ann)
    queued = begin(ann, "And then?", conversation_id=first["conversation_id"])
    assert queued["status"] == "queued"
    answer = cancel(ann, queued)
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    (last,) = heard(ann, queued)
    assert (last.type, last.id, last.data["output"]) == ("run.cancelled", 1, None)
    assert code(cancel(ann, queued)) == (409, "run_over")
    assert read(ann, first)["status"] == "running"
    cancel(ann, first)
    ended(ann, first)
    assert [role for role, _ in neighbours.said(first["conversation_id"])] == ["user", "assistant"]


def test_who_listens_to_a_run_that_waits_for_its_turn_hears_at_once_that_it_was_cancelled(
    ann: httpx.Client, other_url: str
) -> None:
    first = speaking(ann)
    queued = begin(ann, "And then?", conversation_id=first["conversation_id"])
    with hearing(ann, queued) as told:
        cancel(ann, queued, at=other_url)
        begun = time.monotonic()
        assert [event.type for event in told] == ["run.cancelled"]
    assert time.monotonic() - begun < 2
    cancel(ann, first)


class Slow:
    """An agent with a tool that does not come back."""

    def __init__(self, *, idempotent: bool) -> None:
        self.calls = 0

        async def dig(depth: int) -> str:
            """Dig a hole."""
            self.calls += 1
            await asyncio.Event().wait()
            return "deep"

        tools = [tool(idempotent=idempotent)(dig)]
        self.agent = Agent[RunContext](name="digger", instructions="You are a digger.", tools=list(tools))


@pytest.fixture(params=[True, False], ids=["repeatable", "once"])
def slow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Slow:
    slow = Slow(idempotent=request.param)
    monkeypatch.setitem(AGENTS, "digger", slow.agent)
    return slow


def test_a_call_that_was_cancelled_leaves_no_half_of_it_behind(
    ann: httpx.Client, slow: Slow, neighbours
) -> None:
    run = begin(ann, "dig depth=3", agent_type="digger")
    until(lambda: slow.calls)
    cancel(ann, run)
    assert ended(ann, run)["status"] == "cancelled"
    kept = [item["data"] for item in neighbours.items[run["conversation_id"]]]
    assert calls_in(kept) == outputs_in(kept)
    again = begin(ann, "Hello", conversation_id=run["conversation_id"])
    assert ended(ann, again)["status"] == "completed"
    assert slow.calls == 1


def calls_in(items: list[dict[str, Any]]) -> list[str]:
    return [item["call_id"] for item in items if item.get("type") == "function_call"]


def outputs_in(items: list[dict[str, Any]]) -> list[str]:
    return [item["call_id"] for item in items if item.get("type") == "function_call_output"]


@pytest.fixture
def strict_url(settings: Settings) -> Iterator[str]:
    narrow = {"chat_tenant_rate_limit_per_minute": 4, "chat_tenant_stream_concurrent_limit": 2}
    with serving(create_app(settings.model_copy(update=narrow))) as url:
        yield url


def test_all_people_of_a_tenant_share_its_rate(person: Person, strict_url: str) -> None:
    tenant = uuid4()
    answers = [
        person(tenant_id=tenant).post(f"{strict_url}{RUNS}", json={"message": "Hello"}) for _ in range(5)
    ]
    assert [answer.status_code for answer in answers] == [202] * 4 + [429]
    assert code(answers[-1]) == (429, "rate_limited")
    assert int(answers[-1].headers["retry-after"]) >= 1
    other = person(tenant_id=uuid4()).post(f"{strict_url}{RUNS}", json={"message": "Hello"})
    assert other.status_code == 202


def test_all_people_of_a_tenant_share_its_streams(person: Person, strict_url: str) -> None:
    tenant = uuid4()
    asked = {"json": {"message": ENDLESS}}
    stream = f"{strict_url}{STREAM}"
    late = person(tenant_id=tenant)
    with (
        person(tenant_id=tenant).stream("POST", stream, **asked) as one,
        person(tenant_id=tenant).stream("POST", stream, **asked) as two,
    ):
        assert (one.status_code, two.status_code) == (200, 200)
        refused = late.post(stream, **asked)
        assert code(refused) == (429, "concurrency_limited")
        assert refused.headers["retry-after"]
        assert person(tenant_id=uuid4()).post(stream, json={"message": "Hello"}).status_code == 200
    # Who went away has given up the place.
    until(lambda: late.post(stream, json={"message": "Hello"}).status_code == 200, seconds=5)


def test_who_is_refused_has_begun_nothing(person: Person, strict_url: str, settings: Settings) -> None:
    tenant = uuid4()
    asked = {"json": {"message": "Hello"}}
    answers = [person(tenant_id=tenant).post(f"{strict_url}{RUNS}", **asked) for _ in range(8)]
    begun = sum(answer.status_code == 202 for answer in answers)
    (row,) = query(settings.database_url.get_secret_value(), "select count(*) from runs")
    assert row["count"] == begun == 4

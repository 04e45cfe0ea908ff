"""Runs that are begun, read and cancelled by whoever they belong to."""

import asyncio
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
from testkit.databases import query
from testkit.eventually import until
from testkit.live_server import serving

from .client_helpers import (
    CHAT,
    ENDLESS,
    RUNS,
    STREAM,
    cancel_run,
    error_of,
    in_parallel,
    message_text,
    payloads_of,
    read_events,
    read_run,
    start_run,
    start_streaming_run,
    subscribed,
    wait_until_finished,
)

Person = Callable[..., httpx.Client]


def test_a_run_that_is_started_can_be_found_at_its_location(ann: httpx.Client) -> None:
    answer = ann.post(RUNS, json={"message": "Hello"})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"{RUNS}/{answer.json()['id']}"
    assert (answer.json()["status"], answer.json()["output"]) == ("running", None)
    assert ann.get(answer.headers["location"]).json()["message"] == "Hello"


def test_a_run_goes_on_without_a_listener(ann: httpx.Client, other_services) -> None:
    run = start_run(ann)
    done = until(lambda: (now := read_run(ann, run))["status"] == "completed" and now)
    assert other_services.messages(run["conversation_id"]) == [
        ("user", "Hello"),
        ("assistant", done["output"]),
    ]
    assert done["duration_ms"] > 0
    assert done["usage"]["output_tokens"] > 0


def test_events_before_the_subscription_are_streamed(ann: httpx.Client) -> None:
    run = start_run(ann)
    wait_until_finished(ann, run)
    received = read_events(ann, run)
    assert (received[0].type, received[-1].type) == ("run.started", "run.completed")
    assert [event.id for event in received] == list(range(1, len(received) + 1))


def test_the_same_key_is_the_same_run(ann: httpx.Client, other_services) -> None:
    key = {"Idempotency-Key": "once"}
    first, again = (ann.post(RUNS, json={"message": "Once"}, headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    wait_until_finished(ann, first.json())
    assert [role for role, _ in other_services.messages(first.json()["conversation_id"])] == [
        "user",
        "assistant",
    ]


def test_the_same_key_for_another_message_is_a_conflict(ann: httpx.Client) -> None:
    key = {"Idempotency-Key": "once"}
    ann.post(RUNS, json={"message": "Once"}, headers=key)
    other = ann.post(RUNS, json={"message": "Twice"}, headers=key)
    assert error_of(other) == (409, "idempotency_conflict")


def test_the_same_key_many_times_at_once_is_one_run(
    ann: httpx.Client, other_services, other_url: str
) -> None:
    def ask(at: str) -> httpx.Response:
        return ann.post(f"{at}{RUNS}", json={"message": "All at once"}, headers={"Idempotency-Key": "once"})

    answers = in_parallel([lambda: ask(""), lambda: ask(other_url)] * 10)
    assert {answer.status_code for answer in answers} == {202}
    (run_id,) = {answer.json()["id"] for answer in answers}
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    run = wait_until_finished(ann, {"id": run_id})
    # Those of the tests before may still be at work.
    message = [id_ for id_ in other_services.items if ("user", "All at once") in other_services.messages(id_)]
    assert message == [run["conversation_id"]]
    assert len(other_services.items[run["conversation_id"]]) == 2


@pytest.mark.parametrize("on_conflict", ["enqueue", "reject", "interrupt", "rollback"])
def test_the_same_key_many_times_at_once_does_not_stand_in_its_own_way(
    ann: httpx.Client, other_services, other_url: str, on_conflict: str
) -> None:
    conversation_id = wait_until_finished(ann, start_run(ann))["conversation_id"]
    message = {"message": "Once", "conversation_id": conversation_id, "on_conflict": on_conflict}

    def ask(at: str) -> httpx.Response:
        return ann.post(f"{at}{RUNS}", json=message, headers={"Idempotency-Key": "once"})

    answers = in_parallel([lambda: ask(""), lambda: ask(other_url)] * 10)
    assert {answer.status_code for answer in answers} == {202}, [answer.text for answer in answers]
    (run_id,) = {answer.json()["id"] for answer in answers}
    assert wait_until_finished(ann, {"id": run_id})["status"] == "completed"
    assert [role for role, _ in other_services.messages(conversation_id)] == ["user", "assistant"] * 2


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/chat", {"message": "Hi [sandbox: error=400]"}),
        (
            "/v1/chat/completions",
            {"model": "triage", "messages": [{"role": "user", "content": "Hi [sandbox: error=400]"}]},
        ),
        ("/v1/responses", {"model": "triage", "input": "Hi [sandbox: error=400]"}),
    ],
)
def test_the_error_of_a_failed_run_names_the_run(ann: httpx.Client, path: str, body: dict[str, Any]) -> None:
    answer = ann.post(path, json=body)
    assert answer.status_code == 502
    run = ann.get(f"{RUNS}/{answer.headers['acme-run-id']}").json()
    assert (run["status"], run["conversation_id"]) == ("failed", answer.headers["acme-conversation-id"])
    if path == "/api/v1/chat":
        assert answer.json()["run_id"] == run["id"]


def test_what_is_not_yours_does_not_exist(person: Person) -> None:
    ann = f"user:{uuid4()}"
    run = start_run(person(subject=ann))
    strangers = (person(), person(role="owner"), person(tenant_id=uuid4(), subject=ann))
    for client, run_id in [*((one, run["id"]) for one in strangers), (person(), str(uuid4()))]:
        of_it = f"{RUNS}/{run_id}"
        for answer in (
            client.get(of_it),
            client.get(f"{of_it}/events"),
            client.post(f"{of_it}/cancel"),
            client.post(f"{of_it}/approvals/{uuid4()}", json={"approve": True}),
        ):
            assert error_of(answer) == (404, "run_not_found"), answer.request.url


def test_a_viewer_may_neither_begin_nor_cancel(person: Person) -> None:
    ann = f"user:{uuid4()}"
    run = start_run(person(subject=ann))
    viewer = person(subject=ann, role="viewer")
    assert error_of(viewer.post(RUNS, json={"message": "Hello"})) == (403, "forbidden")
    assert error_of(cancel_run(viewer, run)) == (403, "forbidden")
    assert viewer.get(f"{RUNS}/{run['id']}").status_code == 200


def test_the_partial_answer_of_a_cancelled_run_is_stored_and_counted(
    ann: httpx.Client, other_services
) -> None:
    run = start_streaming_run(ann)
    assert cancel_run(ann, run).status_code == 200
    received = read_events(ann, run)
    last, texts = received[-1], message_text(received)
    assert (last.type, last.data["output"]) == ("run.cancelled", texts)
    assert texts
    assert [event.id for event in received] == list(range(1, len(received) + 1))
    assert payloads_of(received, "item.completed")[-1]["item"]["incomplete"] is True
    stored = other_services.items[run["conversation_id"]][-1]["data"]
    assert (stored["role"], stored["status"], stored["content"][0]["text"]) == (
        "assistant",
        "incomplete",
        texts,
    )
    now = read_run(ann, run)
    assert (now["status"], now["output"], now["usage"]) == ("cancelled", texts, last.data["usage"])
    assert now["usage"]["estimated"] is True
    assert now["usage"]["estimated_output_tokens"] == now["usage"]["output_tokens"] > 0


def test_the_usage_of_a_cancelled_run_is_published(ann: httpx.Client, completed_events) -> None:
    run = start_streaming_run(ann)
    cancel_run(ann, run)
    used = wait_until_finished(ann, run)["usage"]
    (event,) = until(lambda: completed_events(run["id"]))
    assert (event["status"], event["estimated"], event["usage"]) == (
        "cancelled",
        True,
        used["models"],
    )


def test_a_run_can_be_cancelled_at_any_replica(ann: httpx.Client, other_url: str) -> None:
    run = start_streaming_run(ann)
    with subscribed(ann, run) as received:
        assert cancel_run(ann, run, at=other_url).status_code == 200
        assert list(received)[-1].type == "run.cancelled"


def test_who_waits_for_the_whole_answer_hears_that_it_was_cancelled(ann: httpx.Client) -> None:
    def ask() -> httpx.Response:
        return ann.post(CHAT, json={"message": ENDLESS})

    def stop() -> httpx.Response:
        (run,) = until(lambda: ann.get(RUNS, params={"status": "running"}).json()["items"])
        return cancel_run(ann, run)

    answer, stopped = in_parallel([ask, stop])
    assert stopped.status_code == 200
    assert error_of(answer) == (409, "run_cancelled")


def test_a_conversation_goes_on_after_a_cancelled_run(ann: httpx.Client, other_services) -> None:
    run = start_streaming_run(ann)
    cancel_run(ann, run)
    wait_until_finished(ann, run)
    again = start_run(ann, "And now?", conversation_id=run["conversation_id"])
    assert wait_until_finished(ann, again)["status"] == "completed"
    roles = [role for role, _ in other_services.messages(run["conversation_id"])]
    assert roles == ["user", "assistant", "user", "assistant"]


def test_what_is_over_cannot_be_cancelled(ann: httpx.Client) -> None:
    completed, cancelled = start_run(ann), start_streaming_run(ann)
    wait_until_finished(ann, completed)
    cancel_run(ann, cancelled)
    wait_until_finished(ann, cancelled)
    for run in (completed, cancelled):
        assert error_of(cancel_run(ann, run)) == (409, "run_already_finished")


def test_a_run_that_waits_for_its_turn_is_cancelled_at_once(ann: httpx.Client, other_services) -> None:
    first = start_streaming_run(ann)
    queued = start_run(ann, "And then?", conversation_id=first["conversation_id"])
    assert queued["status"] == "queued"
    answer = cancel_run(ann, queued)
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    (last,) = read_events(ann, queued)
    assert (last.type, last.id, last.data["output"]) == ("run.cancelled", 1, None)
    assert error_of(cancel_run(ann, queued)) == (409, "run_already_finished")
    assert read_run(ann, first)["status"] == "running"
    cancel_run(ann, first)
    wait_until_finished(ann, first)
    assert [role for role, _ in other_services.messages(first["conversation_id"])] == ["user", "assistant"]


def test_who_listens_to_a_run_that_waits_for_its_turn_hears_at_once_that_it_was_cancelled(
    ann: httpx.Client, other_url: str
) -> None:
    first = start_streaming_run(ann)
    queued = start_run(ann, "And then?", conversation_id=first["conversation_id"])
    with subscribed(ann, queued) as received:
        cancel_run(ann, queued, at=other_url)
        assert [event.type for event in received if event.id] == ["run.cancelled"]
    # It has not waited for its turn.
    assert read_run(ann, first)["status"] == "running"
    cancel_run(ann, first)


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
    ann: httpx.Client, slow: Slow, other_services
) -> None:
    run = start_run(ann, "dig depth=3", agent_type="digger")
    until(lambda: slow.calls)
    cancel_run(ann, run)
    assert wait_until_finished(ann, run)["status"] == "cancelled"
    stored = [item["data"] for item in other_services.items[run["conversation_id"]]]
    assert calls_in(stored) == outputs_in(stored)
    again = start_run(ann, "Hello", conversation_id=run["conversation_id"])
    assert wait_until_finished(ann, again)["status"] == "completed"
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
    assert error_of(answers[-1]) == (429, "rate_limited")
    assert int(answers[-1].headers["retry-after"]) >= 1
    other = person(tenant_id=uuid4()).post(f"{strict_url}{RUNS}", json={"message": "Hello"})
    assert other.status_code == 202


def test_all_people_of_a_tenant_share_its_streams(person: Person, strict_url: str) -> None:
    tenant = uuid4()
    message = {"json": {"message": ENDLESS}}
    stream = f"{strict_url}{STREAM}"
    late = person(tenant_id=tenant)
    with (
        person(tenant_id=tenant).stream("POST", stream, **message) as one,
        person(tenant_id=tenant).stream("POST", stream, **message) as two,
    ):
        assert (one.status_code, two.status_code) == (200, 200)
        refused = late.post(stream, **message)
        assert error_of(refused) == (429, "concurrency_limited")
        assert refused.headers["retry-after"]
        assert person(tenant_id=uuid4()).post(stream, json={"message": "Hello"}).status_code == 200
    # Who went away has given up the place.
    until(lambda: late.post(stream, json={"message": "Hello"}).status_code == 200)


def test_who_is_refused_has_begun_nothing(person: Person, strict_url: str, settings: Settings) -> None:
    tenant = uuid4()
    message = {"json": {"message": "Hello"}}
    answers = [person(tenant_id=tenant).post(f"{strict_url}{RUNS}", **message) for _ in range(8)]
    started = sum(answer.status_code == 202 for answer in answers)
    (row,) = query(settings.database_url.get_secret_value(), "select count(*) from runs")
    assert row["count"] == started == 4

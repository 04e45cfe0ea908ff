"""A second message while a run answers: it waits, is refused, cuts the first off, or takes it back."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any
from uuid import uuid4

import httpx
import pytest
from chat_agent.runs.store import MAX_QUEUED
from chat_agent.settings import Settings
from testkit.databases import query
from testkit.eventually import until
from testkit.sse import events

from .client_helpers import (
    CHAT,
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
PAUSING = "Slowly [sandbox: tokens=40, pause-after=20]"
WITH_A_TOOL = "What time is it? [sandbox: tokens=60, stall-after=30]"


@pytest.fixture(params=["here", "elsewhere"])
def at(request: pytest.FixtureRequest, other_url: str) -> str:
    """Return where the second message goes: to the replica of the first, or to another one."""
    return "" if request.param == "here" else other_url


def in_same(run: dict[str, Any], on_conflict: str) -> dict[str, str]:
    return {"conversation_id": run["conversation_id"], "on_conflict": on_conflict}


def all_ended(client: httpx.Client, runs: list[dict[str, Any]]) -> list[str]:
    return [wait_until_finished(client, run)["status"] for run in runs]


def roles(other_services: Any, run: dict[str, Any]) -> list[str]:
    return [role for role, _ in other_services.messages(run["conversation_id"])]


def messages(other_services: Any, run: dict[str, Any]) -> list[str]:
    return [text for role, text in other_services.messages(run["conversation_id"]) if role == "user"]


def runs_of(other_services: Any, run: dict[str, Any]) -> list[str]:
    """Return the runs whose items stand in a conversation, one after the other."""
    items = other_services.items[run["conversation_id"]]
    return [run_id for run_id, _ in groupby(items, lambda item: item["id"].rpartition("-")[0])]


def test_messages_are_answered_one_after_the_other(
    ann: httpx.Client, other_services, at: str, resume_model
) -> None:
    first = start_run(ann, PAUSING)
    same = {"conversation_id": first["conversation_id"]}
    second, third = start_run(ann, "Second", at, **same), start_run(ann, "Third", **same)
    assert [run["status"] for run in (first, second, third)] == ["running", "queued", "queued"]
    resume_model()
    assert all_ended(ann, [third, second, first]) == ["completed"] * 3
    assert roles(other_services, first) == ["user", "assistant"] * 3
    assert messages(other_services, first) == [PAUSING, "Second", "Third"]
    assert runs_of(other_services, first) == [first["id"], second["id"], third["id"]]


def test_who_waits_hears_the_answer_when_it_comes(ann: httpx.Client, at: str, resume_model) -> None:
    first = start_run(ann, PAUSING)
    query = {"message": "Second", **in_same(first, "enqueue")}
    with ann.stream("POST", f"{at}{STREAM}", json=query) as answer:
        run = {"id": answer.headers["acme-run-id"]}
    resume_model()
    received = read_events(ann, run, at=at)
    assert (received[0].type, received[-1].type) == ("run.started", "run.completed")
    assert [event.id for event in received] == list(range(1, len(received) + 1))
    assert read_run(ann, first)["status"] == "completed"


def test_says_at_once_what_a_message_waits_for(ann: httpx.Client, at: str, resume_model) -> None:
    first = start_run(ann, PAUSING)
    same = in_same(first, "enqueue")
    start_run(ann, "Second", **same)
    with ann.stream("POST", f"{at}{STREAM}", json={"message": "Third", **same}) as answer:
        received = events(answer)
        queued = next(received)
        resume_model()
        started, *_ = received
    assert (queued.type, queued.id) == ("run.queued", 0)
    assert queued.data == {
        "type": "run.queued",
        "run_id": answer.headers["acme-run-id"],
        "conversation_id": first["conversation_id"],
        "ahead": 2,
        "active_run": {"id": first["id"], "status": "running"},
    }
    assert (started.type, started.id) == ("run.started", 1)


def test_the_whole_answer_waits_for_its_turn(
    ann: httpx.Client, other_services, at: str, settings: Settings, resume_model
) -> None:
    first = start_run(ann, PAUSING)
    database = settings.database_url.get_secret_value()
    with ThreadPoolExecutor() as pool:
        request = {"message": "Second", **in_same(first, "enqueue")}
        answer = pool.submit(ann.post, f"{at}{CHAT}", json=request)
        until(lambda: query(database, "select 1 from runs where status = 'queued'"))
        resume_model()
        second = answer.result()
    assert second.status_code == 200
    assert other_services.messages(first["conversation_id"])[-1] == ("assistant", second.json()["response"])


def test_messages_in_between_are_known_to_the_next_run(ann: httpx.Client, resume_model) -> None:
    first = start_run(ann, PAUSING)
    second = start_run(ann, "Second", **in_same(first, "enqueue"))
    resume_model()
    assert "Slowly" in wait_until_finished(ann, second)["output"]


def test_a_failure_does_not_hold_up_who_waits(ann: httpx.Client, at: str) -> None:
    first = start_run(ann, "Hi [sandbox: delay=0.3s, error=400]")
    second = start_run(ann, "Second", at, **in_same(first, "enqueue"))
    assert all_ended(ann, [first, second]) == ["failed", "completed"]


def test_a_message_can_be_refused_while_another_is_answered(
    ann: httpx.Client, other_services, at: str
) -> None:
    first = start_streaming_run(ann)
    refused = ann.post(f"{at}{RUNS}", json={"message": "Second", **in_same(first, "reject")})
    assert error_of(refused) == (409, "conversation_busy")
    assert int(refused.headers["retry-after"]) >= 1
    assert read_run(ann, first)["status"] == "running"
    cancel_run(ann, first)
    wait_until_finished(ann, first)
    assert messages(other_services, first) == [first["message"]]
    assert all_ended(ann, [start_run(ann, "Second", at, **in_same(first, "reject"))]) == ["completed"]


def test_a_message_can_cut_an_answer_off(ann: httpx.Client, other_services, at: str) -> None:
    first = start_streaming_run(ann)
    with subscribed(ann, first) as received:
        second = start_run(ann, "Second", at, **in_same(first, "interrupt"))
        *_, last = spoken_text = list(received)
    assert last.type == "run.cancelled"
    assert wait_until_finished(ann, second)["status"] == "completed"
    assert read_run(ann, first)["output"] == message_text(spoken_text) == last.data["output"]
    assert roles(other_services, first) == ["user", "assistant", "user", "assistant"]
    cut_off = other_services.items[first["conversation_id"]][1]["data"]
    assert (cut_off["status"], cut_off["content"][0]["text"]) == ("incomplete", message_text(spoken_text))


def test_a_message_can_take_another_back(ann: httpx.Client, other_services, at: str) -> None:
    before = wait_until_finished(ann, start_run(ann, "Before"))
    first = start_streaming_run(ann, WITH_A_TOOL, conversation_id=before["conversation_id"])
    assert len(other_services.items[first["conversation_id"]]) == 5
    second = start_run(ann, "Second", at, **in_same(first, "rollback"))
    assert wait_until_finished(ann, second)["status"] == "completed"
    now = wait_until_finished(ann, first)
    assert (now["status"], now["error_code"], now["output"]) == ("cancelled", "rolled_back", None)
    assert now["usage"]["output_tokens"] > 0
    assert messages(other_services, first) == ["Before", "Second"]
    assert runs_of(other_services, first) == [before["id"], second["id"]]
    assert read_events(ann, first)[-1].data["code"] == "rolled_back"


def test_what_was_taken_back_is_not_known_to_the_next(ann: httpx.Client, at: str) -> None:
    first = start_streaming_run(ann)
    second = start_run(ann, "Second", at, **in_same(first, "rollback"))
    assert "long story" not in wait_until_finished(ann, second)["output"]


@pytest.mark.parametrize("on_conflict", ["interrupt", "rollback"])
def test_who_cuts_in_goes_before_those_who_wait(
    ann: httpx.Client, other_services, at: str, on_conflict: str
) -> None:
    first = start_streaming_run(ann)
    waiting = [start_run(ann, "Waiting", **in_same(first, "enqueue")) for _ in range(2)]
    last = start_run(ann, "Last", at, **in_same(first, on_conflict))
    assert all_ended(ann, [first, *waiting, last]) == ["cancelled"] * 3 + ["completed"]
    assert messages(other_services, first) == ([first["message"]] if on_conflict == "interrupt" else []) + [
        "Last"
    ]
    assert [payloads_of(read_events(ann, run), "run.started") for run in waiting] == [[], []]


@pytest.mark.parametrize("on_conflict", ["enqueue", "reject", "interrupt", "rollback"])
def test_where_nothing_is_under_way_nothing_is_in_conflict(
    ann: httpx.Client, other_services, at: str, on_conflict: str
) -> None:
    first = start_run(ann, "First", on_conflict=on_conflict)
    wait_until_finished(ann, first)
    second = start_run(ann, "Second", at, **in_same(first, on_conflict))
    assert second["status"] == "running"
    assert wait_until_finished(ann, second)["status"] == "completed"
    assert roles(other_services, first) == ["user", "assistant"] * 2


def test_only_so_many_messages_wait_in_one_conversation(ann: httpx.Client, at: str) -> None:
    first = start_streaming_run(ann)
    query = {"message": "Again", **in_same(first, "enqueue")}
    waiting = [start_run(ann, **query) for _ in range(MAX_QUEUED)]
    assert {run["status"] for run in waiting} == {"queued"}
    assert error_of(ann.post(f"{at}{RUNS}", json=query)) == (409, "conversation_busy")
    assert start_run(ann)["status"] == "running"
    cancel_run(ann, waiting[0])
    assert start_run(ann, **query)["status"] == "queued"
    # Who cuts in empties the queue, however long it is.
    last = start_run(ann, "Last", at, **in_same(first, "interrupt"))
    assert wait_until_finished(ann, last)["status"] == "completed"


def test_a_queue_is_nobody_elses(person: Person) -> None:
    first = start_streaming_run(person())
    for stranger in (person(), person(tenant_id=uuid4())):
        answer = stranger.post(RUNS, json={"message": "Mine?", **in_same(first, "interrupt")})
        assert error_of(answer) == (404, "conversation_not_found")


def test_many_messages_at_once_are_never_interleaved(
    ann: httpx.Client, other_services, other_url: str
) -> None:
    first = wait_until_finished(ann, start_run(ann, "First"))
    texts = [f"Message {number} [sandbox: tokens=20]" for number in range(10)]
    same = {"conversation_id": first["conversation_id"]}
    runs = in_parallel(
        [
            lambda text=text, at=at: start_run(ann, text, at, **same)
            for text, at in zip(texts, ["", other_url] * 5, strict=True)
        ]
    )
    assert all_ended(ann, runs) == ["completed"] * 10
    assert roles(other_services, first) == ["user", "assistant"] * 11
    assert Counter(messages(other_services, first)) == Counter(["First", *texts])
    assert len(runs_of(other_services, first)) == 11


def test_of_many_messages_at_once_that_want_to_be_alone_one_is(ann: httpx.Client, other_url: str) -> None:
    first = wait_until_finished(ann, start_run(ann, "First"))
    query = {"message": "Alone [sandbox: tokens=60, stall-after=30]", **in_same(first, "reject")}
    answers = in_parallel([lambda at=at: ann.post(f"{at}{RUNS}", json=query) for at in ["", other_url] * 5])
    assert Counter(answer.status_code for answer in answers) == {202: 1, 409: 9}


@pytest.mark.parametrize("on_conflict", ["interrupt", "rollback"])
def test_of_many_messages_at_once_that_cut_in_the_last_is_answered(
    ann: httpx.Client, other_services, other_url: str, on_conflict: str
) -> None:
    first = start_streaming_run(ann)
    runs = in_parallel(
        [
            lambda at=at, number=number: start_run(
                ann, f"Message {number}", at, **in_same(first, on_conflict)
            )
            for number, at in enumerate(["", other_url] * 5)
        ]
    )
    until(lambda: all(read_run(ann, run)["ended_at"] for run in runs))
    completed = [run for run in runs if read_run(ann, run)["status"] == "completed"]
    assert completed
    answered = other_services.messages(first["conversation_id"])
    assert answered[-1] == ("assistant", read_run(ann, {"id": runs_of(other_services, first)[-1]})["output"])
    standing = runs_of(other_services, first)
    assert len(standing) == len(set(standing))
    if on_conflict == "rollback":
        assert set(standing) == {run["id"] for run in completed}
        assert roles(other_services, first) == ["user", "assistant"] * len(completed)


def test_unfinished_runs_of_a_conversation_are_listed_and_read_from_their_beginning(
    ann: httpx.Client, at: str
) -> None:
    unfinished = {"status": ["queued", "running", "waiting"]}
    start_streaming_run(ann)
    running = start_streaming_run(ann)
    queued = start_run(ann, "And then?", **in_same(running, "enqueue"))
    query = {**unfinished, "conversation_id": running["conversation_id"]}
    listed = ann.get(f"{at}{RUNS}", params=query).json()["items"]
    assert [(run["id"], run["status"]) for run in listed] == [
        (queued["id"], "queued"),
        (running["id"], "running"),
    ]
    with subscribed(ann, running, at=at) as received:
        assert next(event for event in received if event.type == "message.delta").data["delta"]
    for run in (queued, running):
        cancel_run(ann, run)
        wait_until_finished(ann, run)
    assert ann.get(f"{at}{RUNS}", params=query).json()["items"] == []

"""A second message while a run answers: it waits, is refused, cuts the first off, or takes it back."""

from collections import Counter
from collections.abc import Callable
from itertools import groupby
from typing import Any
from uuid import uuid4

import httpx
import pytest
from chat_agent.runs.store import LONGEST_QUEUE

from .talking import (
    CHAT,
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
SLOWLY = "Slowly [sandbox: tokens=40, rate=150/s]"
WITH_A_TOOL = "What time is it? [sandbox: tokens=60, stall-after=30]"


@pytest.fixture(params=["here", "elsewhere"])
def at(request: pytest.FixtureRequest, other_url: str) -> str:
    """Give where the second message goes: to the replica of the first, or to another one."""
    return "" if request.param == "here" else other_url


def in_same(run: dict[str, Any], on_conflict: str) -> dict[str, str]:
    return {"conversation_id": run["conversation_id"], "on_conflict": on_conflict}


def all_ended(client: httpx.Client, runs: list[dict[str, Any]]) -> list[str]:
    return [ended(client, run)["status"] for run in runs]


def roles(neighbours: Any, run: dict[str, Any]) -> list[str]:
    return [role for role, _ in neighbours.said(run["conversation_id"])]


def messages(neighbours: Any, run: dict[str, Any]) -> list[str]:
    return [text for role, text in neighbours.said(run["conversation_id"]) if role == "user"]


def runs_of(neighbours: Any, run: dict[str, Any]) -> list[str]:
    """Give the runs whose items stand in a conversation, one after the other."""
    items = neighbours.items[run["conversation_id"]]
    return [run_id for run_id, _ in groupby(items, lambda item: item["id"].rpartition("-")[0])]


def test_messages_are_answered_one_after_the_other(ann: httpx.Client, neighbours, at: str) -> None:
    first = begin(ann, SLOWLY)
    same = {"conversation_id": first["conversation_id"]}
    second, third = begin(ann, "Second", at, **same), begin(ann, "Third", **same)
    assert [run["status"] for run in (first, second, third)] == ["running", "queued", "queued"]
    assert all_ended(ann, [third, second, first]) == ["completed"] * 3
    assert roles(neighbours, first) == ["user", "assistant"] * 3
    assert messages(neighbours, first) == [SLOWLY, "Second", "Third"]
    assert runs_of(neighbours, first) == [first["id"], second["id"], third["id"]]


def test_who_waits_hears_the_answer_when_it_comes(ann: httpx.Client, at: str) -> None:
    first = begin(ann, SLOWLY)
    asked = {"message": "Second", **in_same(first, "enqueue")}
    with ann.stream("POST", f"{at}{STREAM}", json=asked) as answer:
        run = {"id": answer.headers["acme-run-id"]}
    told = heard(ann, run, at=at)
    assert (told[0].type, told[-1].type) == ("run.started", "run.completed")
    assert [event.id for event in told] == list(range(1, len(told) + 1))
    assert read(ann, first)["status"] == "completed"


def test_the_whole_answer_waits_for_its_turn(ann: httpx.Client, neighbours, at: str) -> None:
    first = begin(ann, SLOWLY)
    second = ann.post(f"{at}{CHAT}", json={"message": "Second", **in_same(first, "enqueue")})
    assert second.status_code == 200
    assert neighbours.said(first["conversation_id"])[-1] == ("assistant", second.json()["response"])


def test_what_was_said_in_between_is_known_to_the_next(ann: httpx.Client) -> None:
    first = begin(ann, SLOWLY)
    second = begin(ann, "Second", **in_same(first, "enqueue"))
    assert "Slowly" in ended(ann, second)["output"]


def test_a_failure_does_not_hold_up_who_waits(ann: httpx.Client, at: str) -> None:
    first = begin(ann, "Hi [sandbox: delay=0.3s, error=400]")
    second = begin(ann, "Second", at, **in_same(first, "enqueue"))
    assert all_ended(ann, [first, second]) == ["failed", "completed"]


def test_a_message_can_be_refused_while_another_is_answered(ann: httpx.Client, neighbours, at: str) -> None:
    first = speaking(ann)
    refused = ann.post(f"{at}{RUNS}", json={"message": "Second", **in_same(first, "reject")})
    assert code(refused) == (409, "conversation_busy")
    assert int(refused.headers["retry-after"]) >= 1
    assert read(ann, first)["status"] == "running"
    cancel(ann, first)
    ended(ann, first)
    assert messages(neighbours, first) == [first["message"]]
    assert all_ended(ann, [begin(ann, "Second", at, **in_same(first, "reject"))]) == ["completed"]


def test_a_message_can_cut_an_answer_off(ann: httpx.Client, neighbours, at: str) -> None:
    first = speaking(ann)
    with hearing(ann, first) as told:
        second = begin(ann, "Second", at, **in_same(first, "interrupt"))
        *_, last = said = list(told)
    assert last.type == "run.cancelled"
    assert ended(ann, second)["status"] == "completed"
    assert read(ann, first)["output"] == said_in(said) == last.data["output"]
    assert roles(neighbours, first) == ["user", "assistant", "user", "assistant"]
    cut_off = neighbours.items[first["conversation_id"]][1]["data"]
    assert (cut_off["status"], cut_off["content"][0]["text"]) == ("incomplete", said_in(said))


def test_a_message_can_take_another_back(ann: httpx.Client, neighbours, at: str) -> None:
    before = ended(ann, begin(ann, "Before"))
    first = speaking(ann, WITH_A_TOOL, conversation_id=before["conversation_id"])
    assert len(neighbours.items[first["conversation_id"]]) == 5
    second = begin(ann, "Second", at, **in_same(first, "rollback"))
    assert ended(ann, second)["status"] == "completed"
    now = ended(ann, first)
    assert (now["status"], now["error_code"], now["output"]) == ("cancelled", "rolled_back", None)
    assert now["usage"]["output_tokens"] > 0
    assert messages(neighbours, first) == ["Before", "Second"]
    assert runs_of(neighbours, first) == [before["id"], second["id"]]
    assert heard(ann, first)[-1].data["code"] == "rolled_back"


def test_what_was_taken_back_is_not_known_to_the_next(ann: httpx.Client, at: str) -> None:
    first = speaking(ann)
    second = begin(ann, "Second", at, **in_same(first, "rollback"))
    assert "long story" not in ended(ann, second)["output"]


@pytest.mark.parametrize("on_conflict", ["interrupt", "rollback"])
def test_who_cuts_in_goes_before_those_who_wait(
    ann: httpx.Client, neighbours, at: str, on_conflict: str
) -> None:
    first = speaking(ann)
    waiting = [begin(ann, "Waiting", **in_same(first, "enqueue")) for _ in range(2)]
    last = begin(ann, "Last", at, **in_same(first, on_conflict))
    assert all_ended(ann, [first, *waiting, last]) == ["cancelled"] * 3 + ["completed"]
    assert messages(neighbours, first) == ([first["message"]] if on_conflict == "interrupt" else []) + [
        "Last"
    ]
    assert [of_type(heard(ann, run), "run.started") for run in waiting] == [[], []]


@pytest.mark.parametrize("on_conflict", ["enqueue", "reject", "interrupt", "rollback"])
def test_where_nothing_is_under_way_nothing_is_in_conflict(
    ann: httpx.Client, neighbours, at: str, on_conflict: str
) -> None:
    first = begin(ann, "First", on_conflict=on_conflict)
    ended(ann, first)
    second = begin(ann, "Second", at, **in_same(first, on_conflict))
    assert second["status"] == "running"
    assert ended(ann, second)["status"] == "completed"
    assert roles(neighbours, first) == ["user", "assistant"] * 2


def test_only_so_many_messages_wait_in_one_conversation(ann: httpx.Client, at: str) -> None:
    first = speaking(ann)
    asked = {"message": "Again", **in_same(first, "enqueue")}
    waiting = [begin(ann, **asked) for _ in range(LONGEST_QUEUE)]
    assert {run["status"] for run in waiting} == {"queued"}
    assert code(ann.post(f"{at}{RUNS}", json=asked)) == (409, "conversation_busy")
    assert begin(ann)["status"] == "running"
    cancel(ann, waiting[0])
    assert begin(ann, **asked)["status"] == "queued"
    # Who cuts in empties the queue, however long it is.
    last = begin(ann, "Last", at, **in_same(first, "interrupt"))
    assert ended(ann, last)["status"] == "completed"


def test_a_queue_is_nobody_elses(person: Person) -> None:
    first = speaking(person())
    for stranger in (person(), person(tenant_id=uuid4())):
        answer = stranger.post(RUNS, json={"message": "Mine?", **in_same(first, "interrupt")})
        assert code(answer) == (404, "unknown_conversation")


def test_many_messages_at_once_are_never_interleaved(ann: httpx.Client, neighbours, other_url: str) -> None:
    first = ended(ann, begin(ann, "First"))
    texts = [f"Message {number} [sandbox: tokens=20]" for number in range(10)]
    same = {"conversation_id": first["conversation_id"]}
    runs = at_once(
        [
            lambda text=text, at=at: begin(ann, text, at, **same)
            for text, at in zip(texts, ["", other_url] * 5, strict=True)
        ]
    )
    assert all_ended(ann, runs) == ["completed"] * 10
    assert roles(neighbours, first) == ["user", "assistant"] * 11
    assert Counter(messages(neighbours, first)) == Counter(["First", *texts])
    assert len(runs_of(neighbours, first)) == 11


def test_of_many_messages_at_once_that_want_to_be_alone_one_is(ann: httpx.Client, other_url: str) -> None:
    first = ended(ann, begin(ann, "First"))
    asked = {"message": "Alone [sandbox: tokens=60, stall-after=30]", **in_same(first, "reject")}
    answers = at_once([lambda at=at: ann.post(f"{at}{RUNS}", json=asked) for at in ["", other_url] * 5])
    assert Counter(answer.status_code for answer in answers) == {202: 1, 409: 9}


@pytest.mark.parametrize("on_conflict", ["interrupt", "rollback"])
def test_of_many_messages_at_once_that_cut_in_the_last_is_answered(
    ann: httpx.Client, neighbours, other_url: str, on_conflict: str
) -> None:
    first = speaking(ann)
    runs = at_once(
        [
            lambda at=at, number=number: begin(ann, f"Message {number}", at, **in_same(first, on_conflict))
            for number, at in enumerate(["", other_url] * 5)
        ]
    )
    until(lambda: all(read(ann, run)["ended_at"] for run in runs))
    completed = [run for run in runs if read(ann, run)["status"] == "completed"]
    assert completed
    answered = neighbours.said(first["conversation_id"])
    assert answered[-1] == ("assistant", read(ann, {"id": runs_of(neighbours, first)[-1]})["output"])
    standing = runs_of(neighbours, first)
    assert len(standing) == len(set(standing))
    if on_conflict == "rollback":
        assert set(standing) == {run["id"] for run in completed}
        assert roles(neighbours, first) == ["user", "assistant"] * len(completed)

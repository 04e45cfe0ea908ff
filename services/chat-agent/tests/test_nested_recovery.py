"""A run goes on though its process was killed while an agent worked as a tool of another."""

import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from chat_agent.agents import AGENTS
from testkit.databases import query
from testkit.eventually import until
from testkit.sse import Event

from .client_helpers import payloads_of
from .test_durable import (  # noqa: F401  # fixtures
    REPLICA,
    at,
    calls_and_outputs,
    database,
    is_whole,
    marks,
    other,
    replica,
    rest,
    settings,
)

MANAGER = runpy.run_path(str(REPLICA))["manager"]


@pytest.fixture(autouse=True)
def _manager(marks: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setitem(AGENTS, "manager", MANAGER)


def begun(client: Any, text: str) -> str:
    body = {"message": f"Please ask clerk to {text}", "agent_type": "manager"}
    run_id: str = client.post("/api/v1/runs", json=body).json()["id"]
    return run_id


def killed(lost: Any, client: Any, marks: Path, database: str, *tools: str) -> str:  # noqa: F811
    """Kill a replica while the clerk of a manager calls tools; the id of the run."""
    run_id = begun(client, " and ".join(tools))
    until(lambda: marks.exists() and sorted(marks.read_text().split()) == sorted(tools))
    if "book" in tools:
        until(lambda: query(database, "select 1 from tool_calls where output = 'booked'"))
    # What was called is in the log before the process is lost.
    kill(lost, marks)
    return run_id


def kill(lost: Any, marks: Path) -> None:  # noqa: F811
    lost.kill()
    marks.with_suffix(".go").touch()


def doubled(received: list[Event]) -> list[tuple[str, str]]:
    """List the events of calls that come twice."""
    calls = [(event.type, event.data["call_id"]) for event in received if event.type.startswith("tool.")]
    return [call for call, count in Counter(calls).items() if count > 1]


def nested_of(received: list[Event], type: str) -> list[tuple[str, str]]:
    return [(one["agent"], one["name"]) for one in payloads_of(received, type) if "parent_call_id" in one]


def test_an_inner_agent_begins_again(replica, other: str, at, marks: Path, database: str) -> None:  # noqa: F811
    lost = replica()
    run_id = killed(lost, at(lost.url), marks, database, "look")
    received = rest(at(other), run_id)
    assert is_whole(received)
    assert (received[-1].type, doubled(received)) == ("run.completed", [])
    assert marks.read_text().split() == ["look", "look"]
    (output,) = [one for one in payloads_of(received, "tool.output") if "parent_call_id" in one]
    called = {one["call_id"]: one for one in payloads_of(received, "tool.called")}
    # Under a call that was not withdrawn.
    (resumed,) = payloads_of(received, "run.resumed")
    items = {one["item"]["id"]: one["item"] for one in payloads_of(received, "item.completed")}
    withdrawn = {items[id]["call_id"] for id in resumed["withdrawn"]}
    assert called[output["call_id"]]["parent_call_id"] not in withdrawn


def test_what_an_inner_agent_has_done_is_not_done_again(
    replica,  # noqa: F811
    other: str,  # noqa: F811
    at,  # noqa: F811
    marks: Path,  # noqa: F811
    database: str,  # noqa: F811
    other_services,
) -> None:
    lost = replica()
    run_id = killed(lost, at(lost.url), marks, database, "book", "look")
    received = rest(at(other), run_id)
    assert is_whole(received)
    assert (received[-1].type, doubled(received)) == ("run.completed", [])
    assert marks.read_text().split().count("book") == 1
    # The manager reads of its own call what the clerk has done, and of no call that is not its own.
    call, (kind, output) = calls_and_outputs(other_services, received[0].data["conversation_id"])
    assert (call, kind) == (("function_call", "ask_clerk"), "function_call_output")
    assert "must not be repeated" in output
    assert "book({}): booked" in output


def test_what_nobody_knows_of_an_inner_agent_ends_the_run(
    replica,  # noqa: F811
    other: str,  # noqa: F811
    at,  # noqa: F811
    marks: Path,  # noqa: F811
    database: str,  # noqa: F811
    other_services,
) -> None:
    lost = replica()
    run_id = killed(lost, at(lost.url), marks, database, "pay")
    received = rest(at(other), run_id)
    assert (received[-1].type, received[-1].data["code"]) == ("run.failed", "tool_outcome_unknown")
    assert marks.read_text().split() == ["pay"]
    call, output = calls_and_outputs(other_services, received[0].data["conversation_id"])
    assert call == ("function_call", "ask_clerk")
    assert "nobody knows" in output[1]


def test_an_allowed_call_of_an_inner_agent_is_not_made_twice(
    replica,  # noqa: F811
    other: str,  # noqa: F811
    at,  # noqa: F811
    marks: Path,  # noqa: F811
) -> None:
    lost = replica()
    client = at(lost.url)
    run_id = begun(client, "order")
    waiting = rest(client, run_id)
    (request,) = payloads_of(waiting, "approval.required")
    path = f"/api/v1/runs/{run_id}/approvals/{request['approval_id']}"
    assert client.post(path, json={"approve": True}).status_code == 200
    until(marks.exists)
    kill(lost, marks)
    received = rest(at(other), run_id)
    assert is_whole(received)
    assert (received[-1].data.get("code"), marks.read_text().split()) == ("tool_outcome_unknown", ["order"])
    assert (nested_of(received, "tool.called"), doubled(received)) == ([("clerk", "order")], [])

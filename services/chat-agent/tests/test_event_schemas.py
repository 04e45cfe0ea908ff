"""Events of real runs, compared with the schemas of the service's OpenAPI document."""

from collections.abc import Callable, Iterable
from typing import Any

import httpx
import pytest
from chat_agent.event_log.store import EventType
from fastapi import FastAPI
from jsonschema import Draft202012Validator, FormatChecker
from testkit.sse import Event, events

from .client_helpers import (
    RUNS,
    STREAM,
    cancel_run,
    read_events,
    start_run,
    start_streaming_run,
    wait_until_finished,
)

TOOLS_AND_HANDOFF = """What time is it, and can you review this Python function? [sandbox: reasoning]
def add(a, b): return a - b"""
NEEDS_APPROVAL = "Forget it [sandbox: call=forget_conversation]"
SKU = {"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]}
CLIENT_TOOL = {"type": "function", "function": {"name": "get_stock", "parameters": SKU}}
Mismatches = Callable[[Iterable[Event]], list[str]]


@pytest.fixture(scope="module")
def schemas(app: FastAPI) -> dict[str, Any]:
    """The named schemas, of which none allows members that it does not name."""
    named: dict[str, Any] = app.openapi()["components"]["schemas"]
    return {
        name: {**schema, "additionalProperties": False} if "properties" in schema else schema
        for name, schema in named.items()
    }


@pytest.fixture(scope="module")
def mismatches(schemas: dict[str, Any]) -> Mismatches:
    """Return a function that lists what events have and their schemas do not, or the other way round."""

    def validator(name: str) -> Draft202012Validator:
        document = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        return Draft202012Validator(document, format_checker=FormatChecker())

    of_type = {
        type: validator(ref.rpartition("/")[2])
        for type, ref in schemas["RunEvent"]["discriminator"]["mapping"].items()
    }

    def compare(received: Iterable[Event]) -> list[str]:
        errors = [
            f"{event.type}: {error.json_path}: {error.message}"
            for event in received
            for error in of_type[event.type].iter_errors(event.data)
        ]
        return errors + [event.type for event in received if event.type != event.data["type"]]

    return compare


def types(received: Iterable[Event]) -> set[str]:
    return {event.type for event in received}


def test_every_event_has_a_schema_in_one_list_for_both_streams(app: FastAPI, schemas: dict[str, Any]) -> None:
    mapping = schemas["RunEvent"]["discriminator"]["mapping"]
    assert set(mapping) == {*EventType, "run.queued"}
    assert {each["$ref"] for each in schemas["RunEvent"]["oneOf"]} == set(mapping.values())
    data = schemas["RunStreamEvent"]["properties"]["data"]
    assert data["contentSchema"] == {"$ref": "#/components/schemas/RunEvent"}
    for method, path in (("post", STREAM), ("get", f"{RUNS}/{{run_id}}/events")):
        content = app.openapi()["paths"][path][method]["responses"]["200"]["content"]
        assert content == {"text/event-stream": {"schema": {"$ref": "#/components/schemas/RunStreamEvent"}}}


def test_tools_handoffs_and_reasoning(ann: httpx.Client, mismatches: Mismatches) -> None:
    received = read_events(ann, start_run(ann, TOOLS_AND_HANDOFF))
    assert types(received) >= {
        "run.started",
        "item.started",
        "item.completed",
        "message.delta",
        "reasoning.delta",
        "tool.called",
        "tool.output",
        "agent.changed",
        "run.completed",
    }
    assert {event.data["item"]["kind"] for event in received if event.type == "item.completed"} == {
        "message",
        "reasoning",
        "tool_call",
        "tool_output",
        "handoff",
    }
    assert mismatches(received) == []


def test_an_approval(ann: httpx.Client, mismatches: Mismatches) -> None:
    run = wait_until_finished(ann, start_run(ann, NEEDS_APPROVAL))
    [approval] = run["approvals"]
    ann.post(f"{RUNS}/{run['id']}/approvals/{approval['id']}", json={"approve": True}).raise_for_status()
    received = read_events(ann, run)
    assert types(received) >= {"approval.required", "run.waiting", "run.resumed", "run.completed"}
    assert mismatches(received) == []


@pytest.mark.parametrize(
    "message", ["Hello [sandbox: error=400]", "Hello [sandbox: refuse]", "Hello [sandbox: call=nothing]"]
)
def test_failures_and_refusals(ann: httpx.Client, mismatches: Mismatches, message: str) -> None:
    assert mismatches(read_events(ann, start_run(ann, message))) == []


def test_a_run_that_was_stopped_and_one_that_waits_for_its_turn(
    ann: httpx.Client, mismatches: Mismatches
) -> None:
    run = start_streaming_run(ann)
    body = {"message": "And then?", "conversation_id": run["conversation_id"]}
    with ann.stream("POST", STREAM, json=body) as answer:
        received = events(answer)
        queued = next(received)
        assert mismatches([queued]) == []
        assert queued.data["active_run"] == {"id": run["id"], "status": "running"}
        cancel_run(ann, run)
        assert mismatches(list(received)) == []
    stopped = read_events(ann, run)
    assert stopped[-1].type == "run.cancelled"
    assert mismatches(stopped) == []


def test_a_run_that_was_rolled_back(ann: httpx.Client, mismatches: Mismatches) -> None:
    run = start_streaming_run(ann)
    start_run(ann, "Hello", conversation_id=run["conversation_id"], on_conflict="rollback")
    received = read_events(ann, run)
    assert received[-1].data["code"] == "rolled_back"
    assert mismatches(received) == []


@pytest.mark.parametrize(
    ("request_options", "member"),
    [({"tools": [CLIENT_TOOL], "tool_choice": "required"}, "tool_calls"), ({"max_tokens": 1}, "truncated")],
)
def test_calls_of_the_callers_tools_and_an_answer_that_was_cut(
    ann: httpx.Client, mismatches: Mismatches, request_options: dict[str, Any], member: str
) -> None:
    messages = [{"role": "user", "content": "Is there some? sku=A7"}]
    body = {"model": "triage", "messages": messages, **request_options}
    answer = ann.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    received = read_events(ann, {"id": answer.headers["Acme-Run-Id"]})
    assert received[-1].data[member]
    assert mismatches(received) == []

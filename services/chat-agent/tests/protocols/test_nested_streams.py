"""What agents call that are tools of others, in every protocol."""

import json
from typing import Any

import httpx
import pytest
from chat_agent.protocols.encoder import feed
from chat_agent.protocols.openai.responses_stream import ResponseStream
from openai import OpenAI

from ..test_nested_calls import paid  # noqa: F401  # fixture, of every test here
from .run_scripts import ENCODERS, RUN, STARTED, Script, client_messages, events, item, text_of, whole_item
from .test_encoders import COMPLETED, resumed
from .test_openai import answers_to

Json = dict[str, Any]
LOOK = "Please ask lead to ask worker to look place=there"
PAY = "Please ask worker to pay amount=5"


def nested_calls(outer: str) -> Script:
    """Call an agent as a tool that calls another, which calls a tool."""
    of_lead: Json = {"call_id": f"{outer}.1", "name": "ask_worker", "agent": "lead", "parent_call_id": outer}
    of_worker = {"call_id": f"{outer}.2", "name": "look", "agent": "worker", "parent_call_id": f"{outer}.1"}
    return [
        ("tool.called", {**of_lead, "arguments": "{}"}),
        ("tool.called", {**of_worker, "arguments": "{}"}),
        ("tool.output", {**of_worker, "output": "nothing", "failed": True}),
        ("tool.output", {**of_lead, "output": "done"}),
    ]


def outer_call(id: str, call_id: str) -> Script:
    call: Json = {"call_id": call_id, "name": "ask_lead", "arguments": "{}"}
    return [
        item("item.started", id, "tool_call"),
        item("item.completed", id, "tool_call", **call),
        ("tool.called", call),
    ]


def outer_output(id: str, call_id: str) -> Script:
    output: Json = {"call_id": call_id, "output": "answer"}
    return [
        item("item.completed", id, "tool_output", **output),
        ("tool.output", {**output, "name": "ask_lead"}),
    ]


WHOLE = [*outer_call("item_2", "b"), *nested_calls("b"), *outer_output("item_3", "b")]
# A process is lost within the call of an agent, and another goes on.
LOST = [*outer_call("item_1", "a"), *nested_calls("a")[:3]]
GOES_ON = resumed(LOST, *WHOLE, *whole_item("item_4", "Hello"))


@pytest.mark.parametrize("protocol", ENCODERS)
def test_the_text_is_that_of_the_runs_own_agent(protocol: str) -> None:
    script = [STARTED, *WHOLE, *whole_item("item_4", "Hello"), COMPLETED]
    assert text_of(protocol, client_messages(protocol, script)) == "Hello"
    assert text_of(protocol, client_messages(protocol, GOES_ON)) == "Hello"


def test_openai_responses_have_them_beside_their_items() -> None:
    received = client_messages("openai_responses", GOES_ON)
    assert [one["sequence_number"] for one in received] == [*range(len(received))]
    response = received[-1]["response"]
    assert [one["type"] for one in response["output"]] == ["mcp_call", "mcp_call", "message"]
    calls = [(one["agent"], one["call_id"], one["status"]) for one in response["acme"]["nested_calls"]]
    assert calls == [("lead", "b.1", "completed"), ("worker", "b.2", "failed")]
    stored = ResponseStream(RUN)
    feed(stored, events(GOES_ON))
    assert stored.response["acme"] == response["acme"]


def test_ui_messages_have_them_as_data_that_is_replaced() -> None:
    received = client_messages("ui_messages", GOES_ON)
    parts = [one for one in received if one["type"] == "data-nested-call"]
    newest = {one["id"]: one["data"] for one in parts}
    assert {id: one["status"] for id, one in newest.items()} == {
        "a.1": "withdrawn",
        "a.2": "withdrawn",
        "b.1": "completed",
        "b.2": "failed",
    }
    assert newest["b.2"] == {
        "call_id": "b.2",
        "parent_call_id": "b.1",
        "agent": "worker",
        "name": "look",
        "arguments": "{}",
        "output": "nothing",
        "status": "failed",
    }


def test_ag_ui_has_them_as_custom_events() -> None:
    received = client_messages("ag_ui", [STARTED, *WHOLE, COMPLETED])
    assert [one["toolCallId"] for one in received if one["type"] == "TOOL_CALL_START"] == ["b"]
    custom = [(one["name"], one["value"]["call_id"]) for one in received if one["type"] == "CUSTOM"]
    assert custom == [
        ("tool.called", "b.1"),
        ("tool.called", "b.2"),
        ("tool.output", "b.2"),
        ("tool.output", "b.1"),
    ]


def test_ag_ui_asks_about_the_call_that_frontends_know() -> None:
    request = {"approval_id": "ap_1", "call_id": "b.2", "name": "look", "arguments": "{}"}
    nested = {"agent": "worker", "parent_call_id": "b.1"}
    script = [
        STARTED,
        *WHOLE[:5],
        ("approval.required", {**request, **nested}),
        ("run.waiting", COMPLETED[1]),
    ]
    received = client_messages("ag_ui", script)
    (interrupt,) = received[-1]["outcome"]["interrupts"]
    assert (interrupt["id"], interrupt["toolCallId"]) == ("ap_1", "b")
    (custom,) = [one for one in received if one.get("name") == "approval.required"]
    assert (custom["value"]["agent"], custom["value"]["parent_call_id"]) == ("worker", "b.1")


def test_openai_chat_has_them_beside_its_choices() -> None:
    received = client_messages("openai_chat", [STARTED, *WHOLE, COMPLETED])
    beside = [one["acme"] for one in received if "acme" in one]
    called = [(one["call_id"], one.get("agent")) for one in beside if one["type"] == "tool.called"]
    assert called == [("b", None), ("b.1", "lead"), ("b.2", "worker")]
    deltas = [choice["delta"] for one in received for choice in one["choices"]]
    assert not any("tool_calls" in delta for delta in deltas)


def test_openais_client_reads_a_response_with_nested_calls(
    client: OpenAI,
    ann: httpx.Client,
) -> None:
    with client.responses.stream(model="boss", input=LOOK) as stream:
        numbers = [event.sequence_number for event in stream]
        response = stream.get_final_response()
    assert numbers == [*range(len(numbers))]
    kinds = {one.type for one in response.output}
    assert kinds == {"mcp_call", "message"}
    beside: Json = response.model_extra["acme"]  # type: ignore[index]
    nested = [(one["agent"], one["name"]) for one in beside["nested_calls"]]
    assert ("worker", "look") in nested
    stored = ann.get(f"/v1/responses/{response.id}").json()
    assert stored["acme"] == json.loads(json.dumps(beside))


def test_a_nested_call_is_approved_over_openais_responses(
    client: OpenAI,
    paid: list[int],  # noqa: F811
) -> None:
    first = client.responses.create(model="lead", input=PAY)
    assert [one.type for one in first.output] == ["mcp_call", "mcp_approval_request"]
    second = client.responses.create(
        model="lead", input=answers_to(first, approve=True), previous_response_id=first.id
    )
    assert (second.status, paid) == ("completed", [5])
    assert second.output[-1].type == "message"

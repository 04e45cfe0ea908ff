"""What codex really sends, recorded from it, with long texts cut and tools without descriptions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

RECORDED = json.loads(Path(__file__).with_name("codex.json").read_text())
REQUESTS: dict[str, dict[str, Any]] = {request["name"]: request["body"] for request in RECORDED["requests"]}


@pytest.fixture
def codex(person: Callable[..., httpx.Client]) -> httpx.Client:
    """Return a client with a key."""
    return person(subject=f"service:ak.{uuid4().hex}")


def tools_in(event: dict[str, Any]) -> Any:
    """Return the tools of a response that an event has."""
    return event["response"]["tools"]


def answer_to(codex: httpx.Client, name: str) -> dict[str, Any]:
    """Return the response to a request, which has the tools of its model."""
    body = {**REQUESTS[name], "model": "triage", "tools": RECORDED["tools"][REQUESTS[name]["tools"]]}
    answer = codex.post("/v1/responses", json=body)
    assert answer.status_code == 200, answer.text
    events = [
        json.loads(line.removeprefix("data: "))
        for line in answer.text.splitlines()
        if line.startswith("data:")
    ]
    assert events[-1]["type"] == "response.completed"
    assert [*map(tools_in, events[:2])] == [events[-1]["response"]["tools"]] * 2
    response: dict[str, Any] = events[-1]["response"]
    return response


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "call in a namespace",
            {
                "type": "function_call",
                "namespace": "multi_agent_v1",
                "name": "spawn_agent",
                "arguments": '{"message": "say hi"}',
            },
        ),
        (
            "call of a custom tool",
            {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin Patch"},
        ),
    ],
)
def test_calls_have_the_form_of_their_tools(codex: httpx.Client, name: str, expected: dict[str, str]) -> None:
    [call] = answer_to(codex, name)["output"]
    assert {member: call.get(member) for member in expected} == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("output of a call in a namespace", 'multi_agent_v1__spawn_agent says: {"agent_id":'),
        ("output of a custom tool", "apply_patch says: apply_patch verification failed"),
        ("output that is an image", "view_image says: [image: image/png]"),
    ],
)
def test_outputs_are_read(codex: httpx.Client, name: str, expected: str) -> None:
    [message] = answer_to(codex, name)["output"]
    assert expected in message["content"][0]["text"]


@pytest.mark.parametrize(
    ("name", "kind"), [("call in a namespace", "namespace"), ("call of a custom tool", "custom")]
)
def test_tools_are_returned_as_they_were_sent(codex: httpx.Client, name: str, kind: str) -> None:
    assert answer_to(codex, name)["tools"] == RECORDED["tools"][kind]

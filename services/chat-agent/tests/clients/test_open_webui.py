"""What Open WebUI really sends, recorded from it, with long texts cut and tools without descriptions.

It has a key for all of its people, and names them by `FORWARD_USER_INFO_HEADER_USER_ID=Acme-End-User`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from testkit.sse import documents

RECORDED = json.loads(Path(__file__).with_name("open_webui.json").read_text())
REQUESTS: dict[str, dict[str, Any]] = {request["name"]: request for request in RECORDED["requests"]}
# What its answer has to contain, where that is more than words.
EXPECTED = {
    "chat with built-in tools": "get_current_timestamp",
    "chat, Responses": "get_current_timestamp",
    "output of a built-in tool": "get_current_timestamp says:",
    "output of a built-in tool, Responses": "get_current_timestamp says:",
    "second turn": "And one more",
    "second turn, Responses": "And one more",
    "image": "image/png of 70 bytes",
    "image, Responses": "image/png of 70 bytes",
    "continue response": "Continue your last message exactly where it ends.",
    "continue response, Responses": "Continue your last message exactly where it ends.",
    "custom parameter": '{"name": "Ada"}',
}


@pytest.fixture
def open_webui(person: Callable[..., httpx.Client]) -> httpx.Client:
    """Return a client with a key, for one of the people who share it."""
    client = person(subject=f"service:ak.{uuid4().hex}")
    client.headers["Acme-End-User"] = str(uuid4())
    return client


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_is_answered(open_webui: httpx.Client, name: str) -> None:
    path, body = REQUESTS[name]["path"], body_of(name)
    answer = open_webui.post(path, json=body)
    assert answer.status_code == 200, answer.text
    if path == "/v1/embeddings":
        assert len(answer.json()["data"]) == len(body["input"])
    else:
        assert EXPECTED.get(name, "scripted stand-in") in words_of(path, answer)


def body_of(name: str) -> dict[str, Any]:
    """Return what is sent, with the tools that all chats have, and the model that embeds here."""
    body: dict[str, Any] = {**REQUESTS[name]["body"]}
    if body.get("tools") == "chat":
        body["tools"] = [{"type": "function", "function": tool} for tool in RECORDED["tools"]]
    elif body.get("tools") == "responses":
        body["tools"] = [{"type": "function", "strict": False, **tool} for tool in RECORDED["tools"]]
    return {**body, "model": "acme/embeddings"} if "embed" in name else body


def words_of(path: str, answer: httpx.Response) -> str:
    """Return what it reads of an answer: words and the names of calls."""
    if answer.headers["content-type"] == "application/json":
        whole = answer.json()
        if path == "/v1/responses":
            return "".join(part["text"] for item in whole["output"] for part in item.get("content", ()))
        return str(whole["choices"][0]["message"]["content"])
    events = documents(answer)
    assert not [event for event in events if event.get("error") or event.get("type") == "error"]
    if path == "/v1/responses":
        return "".join(event.get("delta", "") + event.get("item", {}).get("name", "") for event in events)
    deltas = [choice["delta"] for event in events for choice in event["choices"]]
    calls = [call["function"]["name"] for delta in deltas for call in delta.get("tool_calls", ())]
    return "".join([*(delta.get("content", "") for delta in deltas), *calls])


def test_what_is_stored_is_its_persons(open_webui: httpx.Client) -> None:
    open_webui.post("/v1/chat/completions", json=body_of("title")).raise_for_status()
    mine = open_webui.get("/api/v1/runs").json()["items"]
    open_webui.headers["Acme-End-User"] = str(uuid4())
    assert (len(mine), open_webui.get("/api/v1/runs").json()["items"]) == (1, [])

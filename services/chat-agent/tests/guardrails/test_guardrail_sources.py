"""Whatever a caller writes into a request, in any member: no model reads what no guardrail has checked."""

import base64
import json
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest
from chat_agent.main import create_app
from chat_agent.protocols.ag_ui_routes import RunAgentInput
from chat_agent.protocols.ai_sdk_routes import UiRequest
from chat_agent.protocols.openai.requests import CompletionRequest, ResponseRequest
from chat_agent.schemas import ChatRequest
from chat_agent.settings import IMAGES_AND_FILES, Settings
from pydantic import BaseModel
from testkit.live_server import serving

from ..client_helpers import CHAT, in_parallel
from ..test_agent_definitions import published
from .test_guardrail_runs import with_guardrails

Json = dict[str, Any]
Path = tuple[str | int, ...]
# Words, so that they may stand where names do.
MARKS = [f"blocked{number}word" for number in range(100)]
KEYWORDS = [{"name": "Keyword Filter", "config": {"keywords": MARKS}}]
PATTERNS: Json = {stage: {"guardrails": KEYWORDS} for stage in ("input", "output", "tool")}
JUDGES: Json = {
    "input": {"guardrails": [{"name": "Jailbreak", "config": {"model": "sandbox-small"}}]},
    "tool": {"guardrails": [{"name": "Prompt Injection Detection", "config": {"model": "sandbox-small"}}]},
}
SCHEMA: Json = {
    "type": "object",
    "description": "A shop.",
    "properties": {"size": {"type": "string", "description": "Its size.", "enum": ["small"]}},
}
FILE = "data:text/csv;base64," + base64.b64encode(b"a,b\n1,2\n").decode()
IMAGE = "https://93.184.216.34/a.png"
CALL = {"name": "shop", "arguments": '{"size": "small"}'}
FUNCTION = {"name": "shop", "description": "Shops.", "parameters": SCHEMA}
CUSTOM = {"name": "query", "description": "Queries."}
CUSTOM_CALL = {"name": "query", "input": "SELECT 1"}
GRAMMAR = {"syntax": "regex", "definition": "SELECT .+"}
VALUES = {"city": "Berlin", "number": 12}
COMPLETION: Json = {
    "model": "support",
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "developer", "content": [{"type": "text", "text": "Be short."}]},
        {"role": "user", "content": "Hello", "name": "ann"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See here"},
                {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
                {"type": "file", "file": {"filename": "a.csv", "file_data": FILE}},
            ],
        },
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {
            "role": "assistant",
            "content": "Fine",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": CALL},
                {"id": "c2", "type": "custom", "custom": CUSTOM_CALL},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "Done"},
        {"role": "tool", "tool_call_id": "c2", "content": "None"},
        {"role": "user", "content": "Go on"},
    ],
    "tools": [
        {"type": "function", "function": FUNCTION},
        {"type": "custom", "custom": {**CUSTOM, "format": {"type": "grammar", "grammar": GRAMMAR}}},
    ],
    "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
    "variables": VALUES,
    "metadata": {"place": "shop"},
    "user": "ann",
    "safety_identifier": "ann",
    "prompt_cache_key": "key",
    "service_tier": "auto",
    "tool_choice": "auto",
}
RESPONSE: Json = {
    "model": "support",
    "instructions": "Be kind.",
    "input": [
        {"role": "developer", "content": "Be short."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "See here"},
                {"type": "input_image", "image_url": IMAGE, "detail": "low"},
                {"type": "input_file", "filename": "a.csv", "file_data": FILE},
            ],
        },
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Fine"}]},
        {"type": "function_call", "call_id": "c1", "namespace": "north", **CALL},
        {"type": "function_call_output", "call_id": "c1", "output": "Done"},
        {"type": "custom_tool_call", "call_id": "c2", **CUSTOM_CALL},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "None"},
        {"role": "user", "content": "Go on"},
    ],
    "tools": [
        {
            "type": "namespace",
            "name": "north",
            "description": "Up there.",
            "tools": [{"type": "function", **FUNCTION}],
        },
        {"type": "custom", **CUSTOM, "format": {"type": "grammar", **GRAMMAR}},
    ],
    "text": {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA}},
    "prompt": {
        "id": "support",
        "variables": {"city": {"type": "input_text", "text": "Berlin"}, "number": 12},
    },
    "metadata": {"place": "shop"},
    "include": ["message"],
    "user": "ann",
    "safety_identifier": "ann",
    "prompt_cache_key": "key",
    "service_tier": "auto",
    "tool_choice": "auto",
}
AG_UI: Json = {
    "threadId": "t",
    "runId": "r",
    "messages": [
        {"id": "1", "role": "system", "content": "Be kind."},
        {
            "id": "2",
            "role": "user",
            "content": [
                {"type": "text", "text": "See here"},
                {"type": "image", "source": {"type": "url", "value": IMAGE, "mimeType": "image/png"}},
                {"type": "binary", "mimeType": "text/csv", "data": FILE, "filename": "a.csv"},
            ],
        },
        {
            "id": "3",
            "role": "assistant",
            "content": "Fine",
            "toolCalls": [{"id": "c1", "type": "function", "function": CALL}],
        },
        {"id": "4", "role": "tool", "toolCallId": "c1", "content": "Done"},
        {"id": "5", "role": "reasoning", "content": "I think."},
        {"id": "6", "role": "activity", "content": {"step": "one"}},
        {"id": "7", "role": "user", "content": "Go on"},
    ],
    "state": {"page": "shop"},
    "tools": [FUNCTION],
    "context": [{"description": "The page", "value": "Shop"}],
    "forwardedProps": {"variables": VALUES},
}
UI: Json = {
    "id": "c",
    "trigger": "submit-message",
    "agent_type": "support",
    "messages": [
        {"id": "1", "role": "system", "parts": [{"type": "text", "text": "Be kind."}]},
        {
            "id": "2",
            "role": "user",
            "parts": [
                {"type": "text", "text": "See here"},
                {"type": "file", "mediaType": "text/csv", "filename": "a.csv", "url": FILE},
                {"type": "file", "mediaType": "image/png", "url": IMAGE},
            ],
        },
        {
            "id": "3",
            "role": "assistant",
            "parts": [
                {"type": "text", "text": "Fine"},
                {
                    "type": "tool-shop",
                    "toolCallId": "c1",
                    "state": "output-available",
                    "input": {"size": "small"},
                    "output": {"shops": ["one"]},
                },
                {
                    "type": "dynamic-tool",
                    "toolName": "shop",
                    "toolCallId": "c2",
                    "state": "output-error",
                    "input": {"size": "small"},
                    "errorText": "Closed",
                },
            ],
        },
        {"id": "4", "role": "user", "parts": [{"type": "text", "text": "Go on"}]},
    ],
    "tools": {"shop": {"description": "Shops.", "parameters": SCHEMA}},
    "variables": VALUES,
}


class Protocol(NamedTuple):
    path: str
    model: type[BaseModel]
    body: Json
    # Members that a request has in another form of itself, or that start no run.
    left_out: frozenset[str] = frozenset()


PROTOCOLS = {
    "chat": Protocol(CHAT, ChatRequest, {"message": "Go on", "agent_type": "support", "variables": VALUES}),
    "completions": Protocol(
        "/v1/chat/completions",
        CompletionRequest,
        COMPLETION,
        # Parts in the form of Responses.
        frozenset({"file_id", "input_audio", "data", "stop"}),
    ),
    "responses": Protocol(
        "/v1/responses",
        ResponseRequest,
        RESPONSE,
        frozenset({"file", "url", "file_id", "input_audio", "data", "refusal", "reason"}),
    ),
    "ag-ui": Protocol("/api/v1/agents/support/ag-ui", RunAgentInput, AG_UI),
    "ui messages": Protocol("/api/v1/chat/ui", UiRequest, UI, frozenset({"name", "reason"})),
}
# Members with one of a few values, or an id of ours.
CHOICES = {
    *("conversation_id", "on_conflict", "on_disconnect", "stream_options", "verbosity", "reasoning_effort"),
    *("truncation", "reasoning", "effort", "conversation", "previous_response_id", "history", "status"),
    *("approval_request_id", "interruptId", "resume", "approval", "approved", "messageId", "version"),
}
# What has members that a caller names, and what stands for the name of a member in a path.
FREE = {"properties", "input", "output", "state", "metadata", "variables", "schema", "parameters"}
NAME = "its name"
# What models get under a name of ours.
NAMED_ANEW = {("response_format", "json_schema", "name"), ("text", "format", "name")}
# What models get and do not read as text: ids by which calls and outputs belong together, and settings.
NOT_READ = {"prompt_cache_key", "service_tier", "id", "call_id", "tool_call_id", "toolCallId", "toolCalls"}


def leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield where a caller may write something: texts, numbers, and names that a caller chooses."""
    match value:
        case dict():
            for name, one in value.items():
                yield from leaves(one, (*path, name))
                if path and path[-1] in FREE:
                    yield (*path, name, NAME)
        case list():
            for index, one in enumerate(value):
                yield from leaves(one, (*path, index))
        case str() | int() if not isinstance(value, bool):
            yield path


def marked(value: Any, path: Path, mark: str) -> Any:
    """Return a value with the mark at one place."""
    if not path:
        if isinstance(value, str) and value.startswith("data:text"):
            return f"{value.partition(',')[0]},{base64.b64encode(f'a,{mark}'.encode()).decode()}"
        if isinstance(value, str) and value.startswith("{"):
            return json.dumps({mark: json.loads(value)})
        return f"{value}?{mark}" if value == IMAGE else mark
    first, *rest = path
    if rest == [NAME]:
        return {(mark if name == first else name): one for name, one in value.items()}
    if isinstance(value, list):
        return [marked(one, (*rest,), mark) if index == first else one for index, one in enumerate(value)]
    return {name: marked(one, (*rest,), mark) if name == first else one for name, one in value.items()}


def request_of(protocol: Protocol, marks: dict[Path, str]) -> Json:
    """Return a request in a conversation of its own with marks at places, those of names last."""
    body: Json = {
        **protocol.body,
        **{name: str(uuid4()) for name in ("id", "threadId") if name in protocol.body},
    }
    for path in sorted(marks, key=lambda path: (path[-1] == NAME, -len(path))):
        body = marked(body, path, marks[path])
    return body


def names_of_members(schema: Json) -> set[str]:
    """Return the names of all members of a request that may hold text."""
    found = set()
    for one in [schema, *schema.get("$defs", {}).values()]:
        for name, member in one.get("properties", {}).items():
            if '"string"' in json.dumps(member) or "$ref" in json.dumps(member):
                found.add(name)
    return found


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    more = {"model_inputs": {"*": IMAGES_AND_FILES}, "chat_rate_limit_per_minute": 100_000}
    return settings.model_copy(update=more)


@pytest.fixture(scope="module")
def patterns_url(settings: Settings) -> Iterator[str]:
    with serving(create_app(with_guardrails(settings, PATTERNS))) as url:
        yield url


@pytest.fixture(scope="module")
def judges_url(settings: Settings) -> Iterator[str]:
    with serving(create_app(with_guardrails(settings, JUDGES))) as url:
        yield url


@pytest.fixture
def caller(admin: httpx.Client, member: httpx.Client) -> httpx.Client:
    variables = {"city": {"type": "string"}, "number": {"type": "number"}}
    published(admin, "support", instructions="Help in {{city}} with {{number}}.", variables=variables)
    return member


def marks_in(calls: list[Json]) -> set[str]:
    """Return the marks that calls of models have, also in the base64 of files."""
    text = json.dumps(calls)
    files = [base64.b64decode(part.partition('"')[0]).decode() for part in text.split(";base64,")[1:]]
    return {mark for mark in MARKS if mark in text or any(mark in file for file in files)}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_requests_have_every_member_that_may_hold_text(name: str) -> None:
    protocol = PROTOCOLS[name]
    present = set(json.dumps(protocol.body).replace('"', " ").split())
    assert names_of_members(protocol.model.model_json_schema()) - present - CHOICES == {*protocol.left_out}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_requests_are_answered_without_the_mark(
    caller: httpx.Client, patterns_url: str, name: str
) -> None:
    answer = caller.post(f"{patterns_url}{PROTOCOLS[name].path}", json=PROTOCOLS[name].body)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("name", PROTOCOLS)
def test_no_model_reads_what_no_guardrail_has_checked(
    caller: httpx.Client, patterns_url: str, judges_url: str, model_calls: list[Json], name: str
) -> None:
    model_calls.clear()
    protocol = PROTOCOLS[name]
    paths = [path for path in leaves(protocol.body) if not NOT_READ & {*path}]
    marks = dict(zip(paths, MARKS[: len(paths)], strict=True))

    def is_refused(path: Path) -> bool:
        body = request_of(protocol, {path: marks[path]})
        return "guardrail_triggered" in caller.post(f"{patterns_url}{protocol.path}", json=body).text

    refused = in_parallel([partial(is_refused, path) for path in marks])
    assert {path for path, mark in marks.items() if mark in marks_in(model_calls)} == set()
    # What patterns refuse is what models would read: judges have to read it before.
    read = {path: mark for path, mark in marks.items() if refused[[*marks].index(path)]}
    answer = caller.post(f"{judges_url}{protocol.path}", json=request_of(protocol, read))
    assert answer.status_code == 200, answer.text
    judged = marks_in([call for call in model_calls if "You check texts" in call["instructions"]])
    answered = marks_in([call for call in model_calls if "You check texts" not in call["instructions"]])
    assert {path for path, mark in read.items() if mark in answered - judged} == set()
    assert {path for path, mark in read.items() if mark not in answered} <= NAMED_ANEW

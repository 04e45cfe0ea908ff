"""Whatever clients leave out or send in its place: it is answered, or refused before anything runs."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from chat_agent.main import create_app
from chat_agent.settings import Settings
from hypothesis import example, given
from testkit.live_server import NO_AUTHORITIES, serving

from ..odd_values import deep, odd, walk

Json = dict[str, Any]
WALK = walk(40)
# As often as the walk needs.
LIMITS = dict.fromkeys(
    (
        "chat_rate_limit_per_minute",
        "chat_tenant_rate_limit_per_minute",
        "chat_stream_rate_limit_per_minute",
        "chat_stream_concurrent_limit",
        "chat_tenant_stream_rate_limit_per_minute",
        "chat_tenant_stream_concurrent_limit",
    ),
    1_000_000,
)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "description": "A."}}, "required": ["a"]}
FUNCTION = {"name": "look", "description": "Look.", "parameters": SCHEMA, "strict": False}
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
COMPLETION: Json = {
    "model": "triage",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Hm"},
                {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
                {
                    "type": "file",
                    "file": {"filename": "f", "file_data": "data:application/pdf;base64,JVBERg=="},
                },
            ],
            "name": "ann",
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "x", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "x", "content": "Nothing."},
        {"role": "assistant", "content": "So?", "refusal": None},
        {"role": "user", "content": "Hello"},
    ],
    "stream": True,
    "stream_options": {"include_usage": True},
    "metadata": {"a": "b"},
    "temperature": 1,
    "top_p": 0.5,
    "max_completion_tokens": 50,
    "service_tier": "auto",
    "prompt_cache_key": "k",
    "tools": [{"type": "function", "function": FUNCTION}],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning_effort": "low",
    "verbosity": "low",
    "response_format": {"type": "text"},
    "n": 1,
    "logprobs": True,
    "top_logprobs": 1,
    "user": "u",
    "store": False,
}
RESPONSE: Json = {
    "model": "triage",
    "input": [
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Hm"},
                {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
            ],
        },
        {"type": "function_call", "call_id": "x", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "x", "output": "Nothing."},
        {"role": "user", "content": "Hello"},
    ],
    "instructions": "Be brief.",
    "stream": True,
    "background": False,
    "metadata": {"a": "b"},
    "temperature": 1,
    "max_output_tokens": 50,
    "tools": [{"type": "function", **FUNCTION}],
    "tool_choice": "auto",
    "reasoning": {"effort": "low", "summary": None},
    "text": {"format": {"type": "text"}, "verbosity": "low"},
    "truncation": "disabled",
    "user": "u",
    "store": True,
    "include": ["message.output_text.logprobs"],
    "top_logprobs": 1,
}
AG_UI: Json = {
    "threadId": "t",
    "runId": "r",
    "state": {"a": {"b": 1}},
    "messages": [
        {"id": "1", "role": "developer", "content": "Be brief."},
        {
            "id": "2",
            "role": "user",
            "content": [
                {"type": "text", "text": "Hello"},
                {"type": "image", "source": {"type": "data", "value": "R0lGODlh", "mimeType": "image/gif"}},
                {"type": "binary", "mimeType": "image/gif", "data": "R0lGODlh", "filename": "f"},
            ],
        },
    ],
    "tools": [{"name": "look", "description": "Look.", "parameters": SCHEMA}],
    "context": [{"description": "d", "value": "v"}],
    "forwardedProps": {"on_conflict": "enqueue", "a": 1},
}
AI_SDK: Json = {
    "id": "c",
    "messages": [
        {"id": "1", "role": "system", "parts": [{"type": "text", "text": "Be brief."}]},
        {
            "id": "2",
            "role": "user",
            "parts": [
                {"type": "text", "text": "Hello"},
                {"type": "file", "mediaType": "image/gif", "filename": "f", "url": PIXEL},
            ],
            "metadata": {"a": 1},
        },
    ],
    "trigger": "submit-message",
    "messageId": "2",
    "agent_type": "triage",
    "on_conflict": "enqueue",
}
CHAT: Json = {"message": "Hello", "agent_type": "triage", "on_conflict": "enqueue", "conversation_id": None}


@pytest.fixture(scope="module")
def walked_url(settings: Settings) -> Iterator[str]:
    model = {"tenants": ["*"], "endpoints": ["completions", "embeddings", "moderations"]}
    values = {**settings.model_dump(), **LIMITS, "direct_models": {"acme/m": model}}
    values["model_inputs"] = {"*": ["image", "file"]}
    with serving(create_app(Settings.model_validate(values))) as url:
        yield url


@pytest.fixture(scope="module")
def client(walked_url: str, issuer: Any) -> Iterator[httpx.Client]:
    headers = {
        "Authorization": f"Bearer {issuer.token(tenant_id=uuid4())}",
        "Content-Type": "application/json",
    }
    with httpx.Client(base_url=walked_url, headers=headers, timeout=60, verify=NO_AUTHORITIES) as client:
        yield client


def check(client: httpx.Client, path: str, body: Any) -> httpx.Response:
    """Send a body: it is refused as a whole, or answered to the end of its stream."""
    answer = client.post(path, content=json.dumps(body))
    assert answer.status_code < 500, (answer.text, body)
    if answer.status_code < 400:
        assert b"internal_error" not in answer.content, (answer.text, body)
        assert answer.content.endswith((b"\n\n", b"}")), (answer.text, body)
    return answer


@WALK
@given(body=odd(COMPLETION))
@example({**COMPLETION, "stream_options": {"include_usage": None}})
@example({**COMPLETION, "metadata": {"\ud83d": "x"}})
def test_completions(client: httpx.Client, body: Any) -> None:
    check(client, "/v1/chat/completions", body)


@WALK
@given(body=odd(RESPONSE))
@example({**RESPONSE, "metadata": {"a\ud83d": "x"}})
def test_responses(client: httpx.Client, body: Any) -> None:
    check(client, "/v1/responses", body)


@WALK
@given(body=odd(AG_UI))
@example({**AG_UI, "state": {"\ud83d": 1}})
@example({**AG_UI, "state": 2**64})
@example({**AG_UI, "state": {"a": deep(190)}})
def test_ag_ui(client: httpx.Client, body: Any) -> None:
    check(client, "/api/v1/agents/triage/ag-ui", body)


@WALK
@given(body=odd(AI_SDK))
def test_ai_sdk(client: httpx.Client, body: Any) -> None:
    check(client, "/api/v1/chat/ui", body)


@WALK
@given(body=odd(CHAT))
def test_chat(client: httpx.Client, body: Any) -> None:
    for path in ("/api/v1/chat", "/api/v1/chat/stream"):
        check(client, path, body)


VALUES: Json = {"company": "Initech", "level": 3, "vip": True, "place": {"type": "input_text", "text": "Hm"}}


@WALK
@given(values=odd(VALUES))
def test_values_of_variables(client: httpx.Client, values: Any) -> None:
    check(client, "/v1/chat/completions", {**COMPLETION, "variables": values})
    prompt = {"id": "triage", "version": "1", "variables": values}
    check(client, "/v1/responses", {**RESPONSE, "prompt": prompt})
    forwarded = {"variables": values}
    check(client, "/api/v1/agents/triage/ag-ui", {**AG_UI, "forwardedProps": forwarded})
    check(client, "/api/v1/chat/ui", {**AI_SDK, "variables": values})
    check(client, "/api/v1/chat", {**CHAT, "variables": values})


PLAIN: dict[str, Json] = {
    "/v1/embeddings": {"model": "acme/m", "input": ["Hi", "Ho"], "dimensions": 4, "encoding_format": "float"},
    "/v1/moderations": {"model": "acme/m", "input": [{"type": "text", "text": "Hi"}]},
    "/v1/completions": {
        "model": "acme/m",
        "prompt": ["Hi"],
        "max_tokens": 3,
        "temperature": 1,
        "n": 2,
        "echo": False,
        "stop": ["."],
        "logprobs": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
        "logit_bias": {"1": 2},
        "user": "u",
    },
}


@pytest.mark.parametrize("path", PLAIN)
def test_what_is_passed_on(client: httpx.Client, path: str) -> None:
    @WALK
    @given(body=odd(PLAIN[path]))
    def send(body: Any) -> None:
        check(client, path, body)

    assert check(client, path, PLAIN[path]).status_code == 200
    send()


@pytest.mark.parametrize(
    "value", ["\ud83d", {"\ud83d": 1}, {"a": ["\x00"]}, 2**64, {"a": -(2**63) - 1}, 1e400, deep(300)], ids=str
)
def test_what_cannot_be_sent_back_is_refused_before_anything_runs(client: httpx.Client, value: Any) -> None:
    before = client.get("/api/v1/runs").json()["items"][:1]
    for path, body in {
        "/api/v1/agents/triage/ag-ui": {**AG_UI, "state": value},
        "/v1/chat/completions": {**COMPLETION, "metadata": {"a": value}},
        "/v1/responses": {**RESPONSE, "metadata": value},
    }.items():
        assert 400 <= check(client, path, body).status_code < 500
    assert client.get("/api/v1/runs").json()["items"][:1] == before


@pytest.mark.parametrize("value", [None, "x", 1, True, [], ["a"], {}, {"a": None}], ids=repr)
def test_forwarded_properties_may_be_anything(client: httpx.Client, value: Any) -> None:
    assert check(client, "/api/v1/agents/triage/ag-ui", {**AG_UI, "forwardedProps": value}).status_code == 200


def test_what_is_null_is_as_if_it_was_not_there(client: httpx.Client) -> None:
    hello = [{"role": "user", "content": "Hello"}]
    options = {"include_usage": None}
    completion = {"model": "triage", "messages": hello, "stream": True, "stream_options": options}
    assert check(client, "/v1/chat/completions", completion).status_code == 200
    for body in ({"input": "Hello", "model": None}, {"input": "Hello", "model": None, "metadata": None}):
        assert check(client, "/v1/responses", body).status_code == 200

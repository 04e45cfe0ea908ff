"""Errors under /v1: OpenAI's shape, words of the request, and repeated by clients only where it helps."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from chat_agent.main import create_app
from openai import OpenAI
from servicekit.auth.dependencies import every_route
from testkit.live_server import serving

Json = Any
# Nobody answers to it, so that a body that fits starts no run.
MODEL = "gpt-nobody"
HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "object", "properties": {}, "additionalProperties": False}
MESSAGE: Json = {
    "type": "message",
    "role": "user",
    "content": [{"type": "input_text", "text": "Hello"}],
}
BODIES: dict[str, dict[str, Json]] = {
    "/v1/chat/completions": {
        "model": MODEL,
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "5"},
            {"role": "user", "content": "And?"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": TOOL, "strict": True}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": TOOL}},
        "stream": False,
        "stream_options": {"include_usage": True},
        "metadata": {"on_conflict": "reject"},
        "stop": ["x"],
        "logit_bias": {"5": 1},
        "temperature": 0.5,
        "max_completion_tokens": 5,
        "reasoning_effort": "low",
        "n": 1,
        "variables": {"company": "Initech", "level": 3},
    },
    "/v1/responses": {
        "model": MODEL,
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
            {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "5"},
            {"role": "user", "content": "And?"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": TOOL}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "a", "schema": TOOL}, "verbosity": "low"},
        "reasoning": {"effort": "low"},
        "instructions": "Be brief.",
        "conversation": {"id": "conv_00000000000040008000000000000001"},
        "metadata": {"on_conflict": "reject"},
        "background": False,
        "prompt": {
            "id": MODEL,
            "version": "1",
            "variables": {"company": "Initech", "place": {"type": "input_text", "text": "Paris"}},
        },
    },
    "/v1/embeddings": {"model": MODEL, "input": ["Hello"], "dimensions": 8, "encoding_format": "float"},
    "/v1/moderations": {"model": MODEL, "input": [{"type": "text", "text": "Hello"}]},
    "/v1/completions": {
        "model": MODEL,
        "prompt": [[5, 6]],
        "max_tokens": 5,
        "stream": False,
        "stream_options": {"include_usage": True},
        "stop": ["x"],
        "logit_bias": {"5": 1},
        "temperature": 0.5,
        "n": 1,
    },
    "/v1/conversations": {"metadata": {"topic": "x"}, "items": [MESSAGE]},
    "/v1/conversations/{conversation_id}": {"metadata": {"topic": "x"}},
    "/v1/conversations/{conversation_id}/items": {"items": [MESSAGE]},
}
UNKNOWN_CONVERSATION = "conv_00000000000040008000000000000001"
LONG = "y" * 70_000
WRONG: list[Json] = [None, True, -7, 1.5, "", "x\0y", LONG, [], [5], [[]], {}, {"a": 5}, {"type": 5}]
# Names of classes and functions, and what Python has instead of objects, arrays and null.
PYTHON = re.compile(
    r"\b[A-Z][a-z]+[A-Z]|function-|\w_\w+\(|\b(None|True|False|dict|list|tuple|str|int|bool)\b"
    r"|dictionary|instance|agent_type|Value error|Traceback|<"
)


def paths_in(value: Json, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the place of every value in a body."""
    yield path
    if not isinstance(value, dict | list):
        return
    for step, member in value.items() if isinstance(value, dict) else enumerate(value):
        yield from paths_in(member, (*path, step))


def spelled(path: tuple[str | int, ...]) -> str:
    """Write a place as OpenAI does."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def with_value(body: Json, path: tuple[str | int, ...], value: Json = ...) -> Json:
    """Return a body with another value at a place, or without that one."""
    if not path:
        return value
    changed = copy.deepcopy(body)
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return changed


def mutations(body: Json) -> Iterator[Json]:
    """Yield a body with each value replaced by each wrong one, or left out."""
    for path in paths_in(body):
        # Without a model, or with null, /v1/responses starts a run.
        is_model = path == ("model",)
        if path and not is_model:
            yield with_value(body, path)
        for wrong in WRONG:
            if not (is_model and wrong is None):
                yield with_value(body, path, wrong)


def problem_of(answer: httpx.Response, body: Json) -> str:
    """Return what is wrong with the answer to a body, if anything."""
    if answer.is_success and answer.request.url.path == "/v1/conversations":
        return ""  # nothing in its body need be there
    error = answer.json().get("error", {})
    if error.keys() != {"message", "type", "param", "code"}:
        return f"another shape: {answer.text[:200]}"
    known = {spelled(path) for path in paths_in(body)}
    param = error["param"]
    # A member that is missing is not there, but what it is missing from is.
    if param is not None and param not in known and param.rpartition(".")[0] not in {"", *known}:
        return f"param is no place in what was sent: {error}"
    if PYTHON.search(error["message"]):
        return f"message has names of ours: {error}"
    return "" if 400 <= answer.status_code < 500 else f"status {answer.status_code}: {error}"


@pytest.fixture(scope="module")
def patient_url(settings) -> Iterator[str]:
    """Return the service with room for many invalid requests."""
    rates = {"invalid_requests_per_minute": 1_000_000, "chat_rate_limit_per_minute": 1_000_000}
    with serving(create_app(settings.model_copy(update=rates))) as url:
        yield url


def test_every_route_that_takes_a_body_is_walked(app) -> None:
    routes = {
        route.path
        for route in every_route(app.routes)
        if (route.path or "").startswith("/v1/") and getattr(route, "body_field", None)
    }
    # A form; test_files has what is wrong with one.
    assert routes - {"/v1/files"} == BODIES.keys()


@pytest.mark.parametrize("path", BODIES)
def test_errors_name_what_was_sent(path: str, ann: httpx.Client, patient_url: str) -> None:
    ann.base_url = patient_url
    failures = []
    for body in mutations(BODIES[path]):
        answer = ann.post(path.replace("{conversation_id}", UNKNOWN_CONVERSATION), json=body)
        if problem := problem_of(answer, body):
            failures.append(problem)
    assert not failures, "\n".join(sorted(set(failures)))


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/v1/responses/resp_x", "response_id"),
        (f"/v1/responses/resp_{'0' * 32}?stream=perhaps", "stream"),
        (f"/v1/responses/resp_{'0' * 32}?starting_after=x", "starting_after"),
        (f"/v1/models/{'m' * 300}", "name"),
    ],
)
def test_errors_name_parts_of_the_address(path: str, param: str, ann: httpx.Client) -> None:
    answer = ann.get(path)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert not PYTHON.search(answer.json()["error"]["message"])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
            "messages[0].content[0].text",
        ),
        ({"messages": [{"role": "user", "content": "y" * 1_000_001}]}, "messages[0].content"),
        ({"messages": HELLO, "metadata": {"on_conflict": "so"}}, "metadata.on_conflict"),
        ({"messages": HELLO, "model": "m" * 100}, "model"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
    ],
)
def test_completions_name_the_innermost_place(body: Json, param: str, ann: httpx.Client) -> None:
    answer = ann.post("/v1/chat/completions", json={"model": MODEL, **body})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/audio/speech", 404, "not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/v1/responses?" + "x" * 9000, 414, "query_too_long"),
    ],
)
def test_what_the_framework_refuses_has_the_shape_too(
    method: str, path: str, status: int, code: str, ann: httpx.Client
) -> None:
    answer = ann.request(method, path)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (status, code, "invalid_request_error")


@pytest.fixture
def calls(ann: httpx.Client, url: str) -> Iterator[tuple[OpenAI, list[int]]]:
    """Return OpenAI's client, which may repeat a request once, and the statuses that it was answered with."""
    statuses: list[int] = []
    token = ann.headers["authorization"].removeprefix("Bearer ")
    hooks = {"response": [lambda response: statuses.append(response.status_code)]}
    with (
        openai.DefaultHttpxClient(event_hooks=hooks, trust_env=False) as http,
        OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=1, timeout=60, http_client=http) as client,
    ):
        yield client, statuses


def test_a_key_that_the_models_provider_refuses_is_not_tried_again(calls) -> None:
    client, statuses = calls
    with pytest.raises(openai.APIStatusError) as refused:
        client.responses.create(model="triage", input="Fail [sandbox: error=401]")
    assert (refused.value.code, statuses) == ("model_authentication_failed", [502])


def test_a_request_that_the_models_provider_refuses_is_not_tried_again(calls) -> None:
    client, statuses = calls
    with pytest.raises(openai.APIStatusError) as refused:
        client.responses.create(model="triage", input="Fail [sandbox: error=400]")
    assert (refused.value.code, statuses) == ("model_refused_request", [502])


def test_a_model_that_is_away_is_tried_again(calls) -> None:
    client, statuses = calls
    with pytest.raises(openai.APIStatusError) as refused:
        client.responses.create(model="triage", input="Fail [sandbox: error=503]")
    assert (refused.value.code, statuses) == ("model_unavailable", [503, 503])


@pytest.mark.parametrize(
    ("key", "code", "words"),
    [
        ("sk-nobody", "invalid_token", "API key"),
        ("acme_ak_0a0a_1b1b", "invalid_api_key", "mistyped"),
        (f"acme_ak_{'0a' * 16}_{'1b' * 36}", "invalid_api_key", "mistyped"),
    ],
)
def test_a_mistyped_key_is_recognized(key: str, code: str, words: str, url: str) -> None:
    with (
        OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=60) as nobody,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        nobody.models.list()
    assert (refused.value.code, refused.value.type) == (code, "authentication_error")
    assert words in refused.value.body["message"]

"""The providers' own clients and our dialects read the same bytes, and understand the same."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from chat_agent.model.dialects import anthropic, gemini
from chat_agent.model.fast_events import ResponseEvents
from chat_agent.model.reasoning import unseal
from chat_agent.model.sse import read_events
from hypothesis import given
from hypothesis import strategies as st
from sandbox.model import create_model
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from testkit.client_environments import available, installed, run
from testkit.live_server import NO_AUTHORITIES, serving

from .odd_values import walk

ENVIRONMENT = "chat-agent-providers"
SCRIPT = Path(__file__).parent / "clients/providers/vendor_sdks.py"
QUESTIONS = {
    "text": "Grüße, two slices of marzipan 🎉",
    "tools": "refund order=A-7 amount=12 [sandbox: call=current_time]",
    "thinking": "refund order=A-7 amount=12 [sandbox: reasoning]",
    "thinking-text": "Hello [sandbox: reasoning]",
    "redacted": "Hello [sandbox: redacted]",
    "refusal": "Hello [sandbox: refuse]",
    "cut": "Hello [sandbox: tokens=400]",
    "unknown": "Hello [sandbox: unknown-event]",
    "blocked": "Hello [sandbox: blocked]",
}
REFUND = {"type": "object", "properties": {"order": {"type": "string"}, "amount": {"type": "integer"}}}
NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}
TOOLS = {"current_time": NO_ARGUMENTS, "refund": REFUND}
NAMES = [f"{provider}-{case}" for provider in ("anthropic", "gemini") for case in QUESTIONS]
DIALECTS = {"anthropic": anthropic, "gemini": gemini}


def body_of(name: str) -> tuple[str, dict[str, Any]]:
    """Return where a question is sent, and as what."""
    provider, _, case = name.partition("-")
    tools = [
        {"type": "function", "name": tool, "description": tool, "parameters": schema}
        for tool, schema in TOOLS.items()
    ]
    messages = [{"role": "user", "content": QUESTIONS[case]}]
    request = {"model": "m", "input": messages, "tools": tools, "max_output_tokens": 300}
    dialect = DIALECTS[provider].DIALECT
    return dialect.path(request), dialect.body(request)


class Replay:
    """Serves recorded streams below their names."""

    def __init__(self, streams: Mapping[str, bytes]) -> None:
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            body = iter([self._streams[scope["path"].split("/")[1]]])
            await StreamingResponse(body, media_type="text/event-stream")(scope, receive, send)


@pytest.fixture(scope="module")
def streams() -> Iterator[dict[str, bytes]]:
    """Record what the sandbox sends."""
    headers = {"x-api-key": "sk", "anthropic-version": "2023-06-01", "x-goog-api-key": "sk"}
    with (
        serving(create_model()) as url,
        httpx.Client(base_url=url, headers=headers, timeout=60, verify=NO_AUTHORITIES) as client,
    ):
        answers = {name: client.post(path, json=body) for name in NAMES for path, body in [body_of(name)]}
        assert {answer.status_code for answer in answers.values()} == {200}
        yield {name: answer.content for name, answer in answers.items()}


@pytest.fixture(scope="module")
def replay_url(streams: dict[str, bytes]) -> Iterator[str]:
    with serving(Replay(streams)) as url:
        yield url


def ours(url: str, name: str) -> Any:
    """Return the response that we understand."""

    async def ask() -> Any:
        client: Any = DIALECTS[name.partition("-")[0]].connect(f"{url}/{name}", "sk", 5)
        try:
            stream = await client.responses.create(model="m", input=[], stream=True)
            return [event async for event in stream][-1].response
        finally:
            await client.close()

    return asyncio.run(ask())


def understood_by_us(response: Any) -> dict[str, Any]:
    """Return what was said, as both clients can say it."""
    items = [item.to_dict() for item in response.output]
    usage = response.usage
    return {
        "text": "".join(part.get("text", "") for item in items for part in item.get("content", [])),
        "thoughts": "".join(part["text"] for item in items for part in item.get("summary", [])),
        "signatures": [one for item in items if item["type"] == "reasoning" for one in signatures_of(item)],
        "calls": [
            (one["call_id"], one["name"], json.loads(one["arguments"]))
            for one in items
            if one["type"] == "function_call"
        ],
        "refused": any(part["type"] == "refusal" for item in items for part in item.get("content", [])),
        "cut": response.status == "incomplete",
        "usage": (
            usage.input_tokens,
            usage.input_tokens_details.cached_tokens,
            usage.input_tokens_details.cache_write_tokens,
            usage.output_tokens,
            usage.output_tokens_details.reasoning_tokens,
        ),
    }


def signatures_of(item: dict[str, Any]) -> list[str]:
    signature = unseal(item)[1].rpartition(":")[2]
    return [signature] if signature else []


def understood_by_anthropic(message: dict[str, Any]) -> dict[str, Any]:
    blocks, usage = message["content"], message["usage"]
    read, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
    return {
        "text": "".join(block.get("text", "") for block in blocks),
        "thoughts": "".join(block.get("thinking", "") for block in blocks),
        "signatures": [
            block.get("signature") or block["data"] for block in blocks if "thinking" in block["type"]
        ],
        "calls": [
            (block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"
        ],
        "refused": message["stop_reason"] == "refusal",
        "cut": message["stop_reason"] == "max_tokens",
        "usage": (
            usage["input_tokens"] + read + written,
            read,
            written,
            usage["output_tokens"],
            usage["output_tokens_details"]["thinking_tokens"],
        ),
    }


def understood_by_gemini(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    candidates = [one for chunk in chunks for one in chunk.get("candidates", [])]
    parts = [part for one in candidates for part in one.get("content", {}).get("parts") or []]
    usage = chunks[-1]["usage_metadata"]
    thoughts = usage.get("thoughts_token_count", 0)
    calls = [part["function_call"] for part in parts if "function_call" in part]
    endings = {one.get("finish_reason") for one in candidates}
    signatures = [part["thought_signature"] for part in parts if part.get("thought_signature")]
    return {
        "text": "".join(part.get("text", "") for part in parts if not part.get("thought")),
        "thoughts": "".join(part.get("text", "") for part in parts if part.get("thought")),
        "signatures": [one.replace("-", "+").replace("_", "/") for one in signatures],
        "calls": [(one["id"], one["name"], one.get("args", {})) for one in calls],
        "refused": "SAFETY" in endings or any("prompt_feedback" in chunk for chunk in chunks),
        "cut": "MAX_TOKENS" in endings,
        "usage": (
            usage["prompt_token_count"],
            usage.get("cached_content_token_count", 0),
            0,
            usage.get("candidates_token_count", 0) + thoughts,
            thoughts,
        ),
    }


@pytest.mark.parametrize("environment", sorted({ENVIRONMENT} & available()))
def test_the_providers_own_clients_understand_the_same(
    replay_url: str, tmp_path: Path, environment: str
) -> None:
    python = installed(environment) / "bin/python"
    lines = run([str(python), str(SCRIPT), replay_url, *NAMES], tmp_path, {"HOME": str(tmp_path)})
    theirs = {one["name"]: one["understood"] for one in map(json.loads, lines.splitlines())}
    assert list(theirs) == NAMES
    for name, understood in theirs.items():
        compare = understood_by_anthropic if name.startswith("anthropic") else understood_by_gemini
        assert understood_by_us(ours(replay_url, name)) == compare(understood), name


@walk(80)
@given(name=st.sampled_from(NAMES), cuts=st.lists(st.integers(0, 20_000), max_size=12), newline=st.booleans())
def test_an_answer_is_the_same_however_its_bytes_are_split(
    streams: dict[str, bytes], name: str, cuts: list[int], newline: bool
) -> None:
    data = streams[name].replace(b"\r\n", b"\n")
    data = data.replace(b"\n", b"\r\n") if newline else data
    assert read(name, [data]) == read(name, split(data, cuts)) == read(name, [bytes([one]) for one in data])


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def read(name: str, pieces: list[bytes]) -> list[Any]:
    """Return the events of Responses that some bytes stand for, without the ids that are ours."""
    dialect = DIALECTS[name.partition("-")[0]].DIALECT
    reader, shape = dialect.reader({"model": "m"}), ResponseEvents().shape

    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def events() -> list[Any]:
        found = []
        async for event in read_events(chunks(), dialect.terminal, dialect.is_last):
            found += [*reader.read(event)]
        return [shape(event) for event in [*found, *reader.finish()]]

    return [without_ids(event.to_dict(warnings=False)) for event in asyncio.run(events())]


def without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_ids(one) for key, one in value.items() if key not in {"id", "item_id"}}
    return [without_ids(one) for one in value] if isinstance(value, list) else value

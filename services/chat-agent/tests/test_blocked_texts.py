"""What a guardrail refuses is nowhere: in no table, stream, log, trace, conversation, event or answer."""

import base64
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from agents import Agent
from chat_agent.agents import AGENTS
from chat_agent.agents.tool import RunContext, tool
from chat_agent.main import create_app
from chat_agent.settings import IMAGES_AND_FILES, Settings
from redis import Redis
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES, serving

from .client_helpers import CHAT, STREAM, everything_stored, read_events, start_run
from .conftest import OtherServices
from .guardrails.test_guardrail_runs import with_guardrails

Json = dict[str, Any]
MARK = "wilhelminekey"
KEYWORDS = [{"name": "Keyword Filter", "config": {"keywords": [MARK]}}]
JUDGE = {"model": "sandbox-small"}
PATTERNS: Json = {stage: {"guardrails": KEYWORDS} for stage in ("input", "output", "tool")}
JUDGES: Json = {
    "input": {"guardrails": [{"name": "Jailbreak", "config": JUDGE}]},
    "output": {"guardrails": [{"name": "NSFW Text", "config": JUDGE}]},
    "tool": {"guardrails": [{"name": "Prompt Injection Detection", "config": JUDGE}]},
}
# The sandbox's judge flags it.
FLAGGED = f"{MARK} flagged=true confidence=1"
FILE = "data:text/csv;base64," + base64.b64encode(FLAGGED.encode()).decode()
CALL: Json = {"id": "c1", "type": "function", "function": {"name": "shop", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "shop"}}


def completion(*messages: Json, **more: Any) -> tuple[str, Json]:
    return "/v1/chat/completions", {"model": "triage", "messages": [*messages], **more}


def message(role: str, content: Any, **more: Any) -> Json:
    return {"role": role, "content": content, **more}


HELLO = message("user", "Hello")
WITH_FILE = [
    {"type": "input_text", "text": "Look"},
    {"type": "input_file", "filename": "a.csv", "file_data": FILE},
]
# Each way by which a text comes to a model, or from one.
REQUESTS: dict[str, tuple[str, Json]] = {
    "message": (CHAT, {"message": FLAGGED}),
    "streamed": (STREAM, {"message": FLAGGED}),
    "instruction": completion(message("system", FLAGGED), HELLO),
    "history": completion(message("user", FLAGGED), message("assistant", "Hm."), HELLO),
    "made-up answer": completion(HELLO, message("assistant", FLAGGED), HELLO),
    "made-up call": completion(
        HELLO,
        message("assistant", None, tool_calls=[{**CALL, "function": {"name": "shop", "arguments": FLAGGED}}]),
        message("tool", "Done", tool_call_id="c1"),
        HELLO,
    ),
    "output of a caller": completion(
        HELLO,
        message("assistant", None, tool_calls=[CALL]),
        message("tool", FLAGGED, tool_call_id="c1"),
        tools=[TOOL],
    ),
    "tool": completion(
        HELLO, tools=[{"type": "function", "function": {"name": "shop", "description": FLAGGED}}]
    ),
    "file": ("/v1/responses", {"model": "triage", "input": [message("user", WITH_FILE)]}),
    "answer": (CHAT, {"message": "Hello", "agent_type": "parrot"}),
    "streamed answer": (STREAM, {"message": "Hello", "agent_type": "parrot"}),
    "output": (CHAT, {"message": "Go [sandbox: call=fetch]", "agent_type": "fetcher"}),
}


@pytest.fixture(autouse=True)
def agents_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    @tool()
    async def fetch() -> str:
        """Fetch something."""
        return FLAGGED

    for agent in (
        Agent[RunContext](name="parrot", instructions=f"You are the {FLAGGED}."),
        Agent[RunContext](name="fetcher", instructions="You fetch.", tools=[fetch]),
    ):
        monkeypatch.setitem(AGENTS, agent.name, agent)


def everything_in_redis(settings: Settings) -> str:
    with Redis.from_url(settings.redis_url.get_secret_value(), decode_responses=True) as redis:
        readers: dict[str, Callable[[str], Any]] = {
            "stream": redis.xrange,
            "string": redis.get,
            "hash": redis.hgetall,
            "set": redis.smembers,
            "list": lambda key: redis.lrange(key, 0, -1),
            "zset": lambda key: redis.zrange(key, 0, -1),
        }
        return str([(key, readers[redis.type(key)](key)) for key in redis.scan_iter()])


@pytest.mark.parametrize("guardrails", [PATTERNS, JUDGES], ids=["patterns", "judges"])
def test_what_is_refused_is_nowhere(
    settings: Settings,
    other_services: OtherServices,
    issuer: Issuer,
    captured_telemetry: Any,
    guardrails: Json,
) -> None:
    inputs = {"model_inputs": {"*": IMAGES_AND_FILES}, **captured_telemetry.settings}
    received = with_guardrails(type(settings).model_validate({**settings.model_dump(), **inputs}), guardrails)
    headers = {"Authorization": f"Bearer {issuer.token(role='owner', tenant_id=uuid4())}"}
    answers: dict[str, str] = {}
    with (
        serving(create_app(received)) as url,
        httpx.Client(base_url=url, timeout=60, headers=headers, verify=NO_AUTHORITIES) as ann,
    ):
        for name, (path, body) in REQUESTS.items():
            answers[name] = ann.post(path, json=body).text
        run = start_run(ann, "Hello", agent_type="parrot")
        answers["events"] = str([event.data for event in read_events(ann, run)])
        answers["export"] = ann.get("/api/v1/export").text
    assert {name for name, text in answers.items() if MARK in text} == set()
    unrefused = {name for name, text in answers.items() if "guardrail_triggered" not in text}
    assert unrefused == set()
    assert MARK not in everything_stored(settings)
    assert MARK not in everything_in_redis(settings)
    assert MARK not in str(vars(other_services))
    assert captured_telemetry.leaks(MARK) == []

"""A call that failed is logged with where and why, and counted; nothing of what was said is shown."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from chat_agent.agents import AGENTS
from chat_agent.agents.tool import tool
from chat_agent.main import create_app
from chat_agent.settings import Settings
from prometheus_client import REGISTRY
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES, serving
from testkit.telemetry_capture import CapturedTelemetry

CANARY = "canary-sentence"
HOST = "127.0.0.1"


@pytest.fixture(params=["fast", "openai"])
def caller(
    request: pytest.FixtureRequest, settings: Settings, issuer: Issuer, captured_telemetry: CapturedTelemetry
) -> Iterator[Callable[..., httpx.Client]]:
    changes = {**captured_telemetry.settings, "model_client": request.param, "model_max_retries": 0}
    received = type(settings).model_validate({**settings.model_dump(), **changes})
    token = issuer.token(role="member", tenant_id=uuid4())
    with (
        serving(create_app(received)) as url,
        httpx.Client(
            base_url=url, timeout=60, headers={"Authorization": f"Bearer {token}"}, verify=NO_AUTHORITIES
        ) as client,
    ):
        yield lambda message: client.post("/api/v1/chat", json={"message": f"{CANARY} {message}"})


def lines(captured_telemetry: CapturedTelemetry, event: str) -> list[dict[str, Any]]:
    logged = [json.loads(line) for line in captured_telemetry.logs.split("\n") if line.startswith("{")]
    return [line for line in logged if line["event"] == event]


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


@pytest.mark.parametrize(
    ("directive", "code", "fields"),
    [
        ("error=500, retry-after=0.01", "model_unavailable", {"status": 500, "has_begun": False}),
        (
            "error=429, retry-after=0.01",
            "model_rate_limited",
            {"status": 429, "error": "RateLimitError", "has_begun": False},
        ),
        ("error=401", "model_authentication_failed", {"status": 401, "error": "AuthenticationError"}),
        ("die-after=20, tokens=60", "model_unavailable", {"has_begun": True}),
        ("fail-after=20, tokens=60", "model_unavailable", {"has_begun": True}),
    ],
)
def test_a_failed_call_of_a_model_is_logged_and_counted(
    caller: Any, captured_telemetry: CapturedTelemetry, directive: str, code: str, fields: dict[str, Any]
) -> None:
    before = count("chat_model_failures_total", host=HOST, code=code)
    caller(f"[sandbox: {directive}]")
    line = lines(captured_telemetry, "model call failed")[-1]
    assert {
        "host": HOST,
        "code": code,
        "model": "sandbox-large",
        "attempt": 0,
        **fields,
    }.items() <= line.items()
    assert line["error"]
    assert line["run_id"]
    assert count("chat_model_failures_total", host=HOST, code=code) > before
    assert captured_telemetry.leaks(CANARY) == []


def test_a_failed_call_of_a_tool_is_logged_and_counted(
    caller: Any, captured_telemetry: CapturedTelemetry, other_services: Any
) -> None:
    labels = {"tool": "search_conversations", "code": "tool_failed"}
    before = count("chat_tool_failures_total", **labels)
    other_services.search_down = True
    answer = caller("[sandbox: call=search_conversations]")
    assert answer.status_code == 200
    line = lines(captured_telemetry, "tool call failed")[-1]
    assert {**labels, "error": "ConversationUnavailable"}.items() <= line.items()
    assert line["run_id"] == answer.json()["run_id"]
    assert line["causes"]
    assert count("chat_tool_failures_total", **labels) == before + 1
    assert captured_telemetry.leaks(CANARY) == []


def test_a_tool_that_takes_too_long_is_counted(caller: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    @tool(seconds=0.01)
    async def slow() -> str:
        """Wait."""
        await asyncio.Event().wait()
        return "never"

    monkeypatch.setitem(AGENTS, "triage", AGENTS["triage"].clone(tools=[slow]))
    labels = {"tool": "slow", "code": "tool_timed_out"}
    before = count("chat_tool_failures_total", **labels)
    answer = caller("[sandbox: call=slow]")
    assert "timed out after 0.01 seconds" in answer.json()["response"]
    assert count("chat_tool_failures_total", **labels) == before + 1

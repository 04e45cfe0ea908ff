"""Errors of guardrails name them and the stage: the same members before a run and after, everywhere."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from chat_agent.main import create_app
from chat_agent.settings import Settings
from testkit.live_server import serving
from testkit.sse import documents

from ..client_helpers import CHAT, RUNS, STREAM, read_events, read_run, start_run
from .test_agent_guardrails import guardrails
from .test_guardrail_runs import KEY, audit_rows, with_guardrails

Json = dict[str, Any]
CODE = "guardrail_triggered"
MESSAGE = f"Say {KEY} again"
TURN = [{"role": "user", "content": MESSAGE}]
# Each way to start a run, with what it answers before a run begins.
REQUESTS: dict[str, tuple[str, Json]] = {
    "chat": (CHAT, {"message": MESSAGE}),
    "stream": (STREAM, {"message": MESSAGE}),
    "completions": ("/v1/chat/completions", {"model": "triage", "messages": TURN}),
    "completions stream": ("/v1/chat/completions", {"model": "triage", "messages": TURN, "stream": True}),
    "responses": ("/v1/responses", {"model": "triage", "input": MESSAGE}),
    "responses stream": ("/v1/responses", {"model": "triage", "input": MESSAGE, "stream": True}),
    "ag-ui": (
        "/api/v1/agents/triage/ag-ui",
        {
            "threadId": "t",
            "runId": "r",
            "messages": [{"id": "1", **TURN[0]}],
            "state": {},
            "tools": [],
            "context": [],
            "forwardedProps": {},
        },
    ),
    "ui messages": (
        "/api/v1/chat/ui",
        {
            "id": "c",
            "trigger": "submit-message",
            "messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": MESSAGE}]}],
        },
    ),
}


@pytest.fixture(scope="module")
def urls(settings: Settings) -> Iterator[dict[str, str]]:
    """Return the replicas whose guardrails refuse a message, and an answer."""
    stages = {stage: guardrails(stage, "Secret Keys") for stage in ("input", "output")}
    apps = {stage: create_app(with_guardrails(settings, value)) for stage, value in stages.items()}
    with serving(apps["input"]) as refusing, serving(apps["output"]) as ending:
        yield {"input": refusing, "output": ending}


def errors_in(value: Any) -> Iterator[Json]:
    """Yield the objects that name the error's code, also within other objects."""
    if isinstance(value, dict):
        if CODE in (value.get("code"), value.get("error_code")):
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from errors_in(one)


@pytest.mark.parametrize("stage", ["input", "output"])
@pytest.mark.parametrize("name", REQUESTS)
def test_every_protocol_names_the_guardrail_and_its_stage(
    ann: httpx.Client, urls: dict[str, str], name: str, stage: str
) -> None:
    path, body = REQUESTS[name]
    found = [*errors_in(documents(ann.post(f"{urls[stage]}{path}", json=body)))]
    assert found
    for error in found:
        assert (error.get("guardrail"), error.get("stage")) == ("Secret Keys", stage), error


def test_a_run_and_its_events_name_them_too(
    ann: httpx.Client, urls: dict[str, str], settings: Settings
) -> None:
    run = start_run(ann, MESSAGE, at=urls["output"])
    members = {"guardrail": "Secret Keys", "stage": "output"}
    last = read_events(ann, run, at=urls["output"])[-1].data
    (listed,) = ann.get(RUNS, params={"conversation_id": run["conversation_id"]}).json()["items"]
    for one in (last, listed, read_run(ann, run), audit_rows(settings)[-1]["detail"]):
        assert {name: one.get(name) for name in members} == members

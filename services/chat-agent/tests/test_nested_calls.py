"""Agents that are tools of others: what they call is seen in every stream, with who called it."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from agents import Agent, ModelSettings
from chat_agent.agents import AGENTS
from chat_agent.agents.tool import RunContext, agent_tool, tool
from chat_agent.agents.tools import TOOLS
from chat_agent.main import create_app
from chat_agent.settings import Settings
from testkit.eventually import until
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES, serving
from testkit.sse import Event
from testkit.telemetry_capture import CapturedTelemetry

from .client_helpers import (
    RUNS,
    cancel_run,
    payloads_of,
    read_events,
    read_run,
    start_run,
    start_streaming_run,
)
from .test_agent_definitions import published

Json = dict[str, Any]
THREE_DEEP = "Please ask lead to ask worker to look place=there"


@pytest.fixture(autouse=True)
def paid(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Add agents that call one another; what was paid."""
    paid: list[int] = []

    @tool()
    async def look(place: str = "here") -> str:
        """Search somewhere."""
        return f"looked at {place}, sk-0123456789abcdef, eve@example.com"

    @tool()
    async def stumble() -> str:
        """Fail."""
        raise RuntimeError("a secret of the tool")

    @tool(needs_approval=True, idempotent=False)
    async def pay(amount: int) -> str:
        """Pay an amount."""
        paid.append(amount)
        return f"paid {amount}"

    @tool(idempotent=False)
    async def note(text: str = "it") -> str:
        """Note something."""
        return f"noted {text}"

    def agent(name: str, *tools: Any) -> Agent[RunContext]:
        settings = ModelSettings(parallel_tool_calls=True)
        return Agent(name=name, instructions=f"You are the {name}.", tools=[*tools], model_settings=settings)

    worker, scout = agent("worker", look, stumble, pay, note), agent("scout", look)
    lead = agent("lead", agent_tool(worker), agent_tool(scout))
    for one in (worker, scout, lead, agent("boss", agent_tool(lead), look)):
        monkeypatch.setitem(AGENTS, one.name, one)
    monkeypatch.setitem(TOOLS, "tests", [look])
    return paid


def tree(received: list[Event]) -> list[tuple[str, str | None, str | None]]:
    """List the calls: the tool, who called it, and within the call of which tool."""
    calls = payloads_of(received, "tool.called")
    names = {call["call_id"]: call["name"] for call in calls}
    return [(call["name"], call.get("agent"), names.get(call.get("parent_call_id"))) for call in calls]


def decide(client: httpx.Client, run: Json, **decision: Any) -> list[Event]:
    """Answer the approval that a run waits for; what happens in it from the beginning."""
    (approval,) = [one for one in read_run(client, run)["approvals"] if one["status"] == "pending"]
    response = client.post(f"{RUNS}/{run['id']}/approvals/{approval['id']}", json=decision)
    assert response.status_code == 200, response.text
    return read_events(client, run)


def test_calls_of_inner_agents_say_who_made_them_however_deep(ann: httpx.Client) -> None:
    run = start_run(ann, THREE_DEEP, agent_type="boss")
    received = read_events(ann, run)
    assert [call for call in tree(received) if call[0] != "look" or call[1]] == [
        ("ask_lead", None, None),
        ("ask_worker", "lead", "ask_lead"),
        ("look", "worker", "ask_worker"),
    ]
    outputs = payloads_of(received, "tool.output")
    (inner,) = [one for one in outputs if one.get("agent") == "worker"]
    assert (inner["name"], inner["output"]) == ("look", "looked at there, [masked], eve@example.com")
    ids = [one["call_id"] for one in outputs]
    # What is within a call ends before it.
    nested = [one for one in outputs if "parent_call_id" in one]
    assert all(ids.index(one["call_id"]) < ids.index(one["parent_call_id"]) for one in nested)
    rows = ann.get(f"{RUNS}/{run['id']}/tool-calls").json()
    stored = {row["call_id"]: row["parent_call_id"] for row in rows}
    assert stored == {one["call_id"]: one.get("parent_call_id") for one in outputs}


def test_nested_calls_are_no_items(ann: httpx.Client, other_services) -> None:
    run = start_run(ann, "Please ask worker to look", agent_type="lead")
    received = read_events(ann, run)
    kinds = [one["item"]["kind"] for one in payloads_of(received, "item.completed")]
    assert kinds == ["tool_call", "tool_output", "message"]
    items = [one["data"] for one in other_services.items[run["conversation_id"]]]
    assert [one["name"] for one in items if one["type"] == "function_call"] == ["ask_worker"]


def test_a_run_that_is_stopped_later_stores_no_nested_call(ann: httpx.Client, other_services) -> None:
    message = "Please ask worker to note [sandbox: tokens=60, stall-after=30]"
    run = start_streaming_run(ann, message, agent_type="lead")
    assert cancel_run(ann, run).is_success
    received = read_events(ann, run)
    assert [call[0] for call in tree(received)] == ["ask_worker", "note"]
    items = [one["data"] for one in other_services.items[run["conversation_id"]]]
    assert [one["type"] for one in items] == ["message", "function_call", "function_call_output", "message"]


def test_parallel_agents_do_not_mix(ann: httpx.Client) -> None:
    received = read_events(ann, start_run(ann, "Ask worker and ask scout to look", agent_type="lead"))
    calls = tree(received)
    assert {call for call in calls if call[0] == "look"} == {
        ("look", "worker", "ask_worker"),
        ("look", "scout", "ask_scout"),
    }
    called = {call["call_id"]: call for call in payloads_of(received, "tool.called")}
    for output in payloads_of(received, "tool.output"):
        call = called[output["call_id"]]
        assert output.get("parent_call_id") == call.get("parent_call_id")


def test_a_nested_call_that_fails_says_so(ann: httpx.Client) -> None:
    received = read_events(ann, start_run(ann, "Please ask worker to stumble", agent_type="lead"))
    inner, outer = payloads_of(received, "tool.output")
    assert (inner["name"], inner["failed"], outer["name"]) == ("stumble", True, "ask_worker")
    assert "failed" not in outer
    assert "a secret" not in json.dumps([event.data for event in received])


def test_tokens_of_inner_agents_count(ann: httpx.Client) -> None:
    run = start_run(ann, THREE_DEEP, agent_type="boss")
    (end,) = payloads_of(read_events(ann, run), "run.completed")
    # Each of the three calls, and answers to what came of that.
    assert end["usage"]["requests"] == 6


def test_a_run_stores_the_versions_of_agents_that_it_calls(ann: httpx.Client) -> None:
    run = start_run(ann, "Hello", agent_type="boss")
    names = [one["name"] for one in read_run(ann, run)["agent_versions"]]
    assert sorted(names) == ["boss", "lead", "scout", "worker"]


def test_a_person_allows_what_an_inner_agent_calls(ann: httpx.Client, paid: list[int]) -> None:
    run = start_run(ann, "Please ask lead to ask worker to pay amount=5", agent_type="boss")
    received = read_events(ann, run)
    (request,) = payloads_of(received, "approval.required")
    (called,) = [one for one in payloads_of(received, "tool.called") if one["name"] == "pay"]
    assert (request["agent"], request["call_id"]) == ("worker", called["call_id"])
    assert request["parent_call_id"] == called["parent_call_id"]
    assert read_run(ann, run)["approvals"][0]["parent_call_id"] == called["parent_call_id"]
    rows = ann.get(f"{RUNS}/{run['id']}/tool-calls").json()
    assert [(row["name"], row["status"]) for row in rows] == [
        ("ask_lead", "running"),
        ("ask_worker", "running"),
    ]
    received = decide(ann, run, approve=True, arguments={"amount": 4})
    assert (received[-1].type, paid) == ("run.completed", [4])
    assert [call[0] for call in tree(received)] == ["ask_lead", "ask_worker", "pay"]
    assert [one["name"] for one in payloads_of(received, "tool.output")] == ["pay", "ask_worker", "ask_lead"]


def test_a_person_rejects_what_an_inner_agent_calls(ann: httpx.Client, paid: list[int]) -> None:
    run = start_run(ann, "Please ask worker to pay amount=5", agent_type="lead")
    read_events(ann, run)
    received = decide(ann, run, approve=False, reason="Too much.")
    assert (received[-1].type, paid) == ("run.completed", [])
    inner, outer = payloads_of(received, "tool.output")
    assert (inner["name"], inner["agent"], outer["name"]) == ("pay", "worker", "ask_worker")
    assert inner["output"] == "The person did not allow this. Too much."


def test_guardrails_mask_what_inner_agents_call(person: Callable[..., httpx.Client]) -> None:
    tenant = uuid4()
    admin, member = person(tenant, role="admin"), person(tenant)
    mails = {"name": "Contains PII", "config": {"entities": ["EMAIL_ADDRESS"]}}
    guardrails = {"tool": {"version": 1, "guardrails": [mails]}}
    published(admin, "clerk", tools=[{"name": "look"}], guardrails=guardrails)
    published(admin, "support", as_tools=["clerk"])
    run = start_run(member, "Ask clerk to look place=adam@example.com", agent_type="support")
    received = read_events(member, run)
    (called,) = [one for one in payloads_of(received, "tool.called") if one.get("agent") == "clerk"]
    (output,) = [one for one in payloads_of(received, "tool.output") if one.get("agent") == "clerk"]
    assert "adam" not in called["arguments"]
    assert "EMAIL_ADDRESS" in called["arguments"]
    assert "eve" not in output["output"]
    assert "[masked]" in output["output"]


def test_the_trace_of_a_run_has_inner_agents_within_one_another(
    settings: Settings, issuer: Issuer, captured_telemetry: CapturedTelemetry
) -> None:
    traced = type(settings).model_validate({**settings.model_dump(), **captured_telemetry.settings})
    headers = {"Authorization": f"Bearer {issuer.token(role='member', tenant_id=uuid4())}"}
    with (
        serving(create_app(traced)) as url,
        httpx.Client(base_url=url, timeout=60, headers=headers, verify=NO_AUTHORITIES) as client,
    ):
        read_events(client, start_run(client, THREE_DEEP, agent_type="boss"))
        spans = until(lambda: spans_of_agents(captured_telemetry, 2))
    outer, inner = sorted(spans, key=lambda span: span.start_time)
    assert (outer.name, inner.name) == ("invoke_agent lead", "invoke_agent worker")
    assert inner.attributes["gen_ai.agent.name"] == "worker"
    parents = {span.context.span_id: span for span in captured_telemetry.spans}
    assert outer.context.span_id in ancestors(inner, parents)
    assert "run" in {parents[id].name for id in ancestors(outer, parents) if id in parents}


def spans_of_agents(telemetry: CapturedTelemetry, count: int) -> list[Any]:
    spans = [span for span in telemetry.spans if span.name.startswith("invoke_agent")]
    ended = [span for span in telemetry.spans if span.name == "run"]
    return spans if len(spans) >= count and ended else []


def ancestors(span: Any, spans: dict[int, Any]) -> list[int]:
    ids = []
    while span is not None and span.parent is not None:
        ids.append(span.parent.span_id)
        span = spans.get(span.parent.span_id)
    return ids

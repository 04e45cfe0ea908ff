"""Every member of a definition has its effect, whichever protocol a client speaks."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from chat_agent.agent_definitions.definition import AgentDefinition
from chat_agent.direct_models import DirectModel
from chat_agent.settings import Settings
from testkit.eventually import until
from testkit.live_server import serving

from .client_helpers import CHAT, RUNS, wait_until_finished
from .conftest import OtherServices
from .guardrails.test_guardrail_runs import CARD
from .mcp_server import StatelessServer
from .recorded_model import recording_model
from .test_agent_definitions import AGENTS, published
from .test_memories import add
from .test_variables import AG_UI, COMPLETIONS, RESPONSES, UI, problem

Json = dict[str, Any]
Send = Callable[[httpx.Client, str, str], httpx.Response]
MODEL, BROKEN = "openai/sandbox-small", "openai/broken"
# What no run can show.
WITHOUT_EFFECT = {
    "schema_version": "the form of the definition, of which there is one",
    "starters": "what frontends suggest, from GET /api/v1/agents; a run begins with a message",
}


def send_chat(client: httpx.Client, message: str, conversation: str) -> httpx.Response:
    body = {"message": message, "agent_type": "support", "conversation_id": conversation}
    return client.post(CHAT, json=body)


def send_completion(client: httpx.Client, message: str, conversation: str) -> httpx.Response:
    messages = [{"role": "user", "content": message}]
    body = {"model": "support", "messages": messages, "metadata": {"conversation_id": conversation}}
    return client.post(COMPLETIONS, json=body)


def send_response(client: httpx.Client, message: str, conversation: str) -> httpx.Response:
    return client.post(RESPONSES, json={"model": "support", "input": message, "conversation": conversation})


def send_ag_ui(client: httpx.Client, message: str, conversation: str) -> httpx.Response:
    messages = [{"id": "1", "role": "user", "content": message}]
    stored = {"history": "stored"}
    body = {"threadId": conversation, "runId": "r", "messages": messages, "forwardedProps": stored}
    return client.post(AG_UI, json=body)


def send_ui(client: httpx.Client, message: str, conversation: str) -> httpx.Response:
    messages = [{"id": "1", "role": "user", "parts": [{"type": "text", "text": message}]}]
    return client.post(UI, json={"id": conversation, "agent_type": "support", "messages": messages})


WAYS_IN: dict[str, Send] = {
    CHAT: send_chat,
    COMPLETIONS: send_completion,
    RESPONSES: send_response,
    AG_UI: send_ag_ui,
    UI: send_ui,
}


@dataclass(frozen=True)
class Found:
    """What has become of a request."""

    response: httpx.Response
    run: Json
    # What the model was sent for it.
    calls: list[Json]
    tool_calls: list[Json]

    @property
    def tools(self) -> dict[str, Json]:
        """The tools that the model was offered first."""
        return {tool["name"]: tool for tool in self.calls[0].get("tools", [])}

    @property
    def input(self) -> str:
        """What the model was sent first."""
        return json.dumps(self.calls[0]["input"])


def pii(stage: str) -> Json:
    check = {"name": "Contains PII", "config": {"entities": ["CREDIT_CARD"]}}
    return {stage: {"version": 1, "guardrails": [check]}}


def called(name: str) -> str:
    return f"Now [sandbox: call={name}]"


def masks_output(found: Found) -> bool:
    """Return whether nobody reads the card that the answer repeats."""
    return "<CREDIT_CARD>" in found.run["output"] and CARD not in found.response.text


def reads_memory(found: Found) -> bool:
    return "The person likes tea" in found.input


# Of each member what a definition has, what a person says, and what shows its effect.
Case = tuple[Json, str, Callable[[Found], bool]]
# Effort and verbosity are what the SDK chooses by itself, for models that it knows.
SETTINGS: Json = {
    "temperature": 0.25,
    "top_p": 0.5,
    "max_output_tokens": 77,
    "reasoning_effort": "none",
    "verbosity": "low",
    "parallel_tool_calls": False,
}
LIMITS = {"tools": [{"name": "current_time"}]}
CASES: dict[str, Case] = {
    "description": (
        {"handoffs": ["clerk"]},
        "Hello",
        lambda found: "Knows the files." in found.tools["transfer_to_clerk"]["description"],
    ),
    "instructions": (
        {"instructions": "You are brief."},
        "Hello",
        lambda found: found.calls[0]["instructions"] == "You are brief.",
    ),
    "variables": (
        {"instructions": "You help {{company}}.", "variables": {"company": {"default": "Initech"}}},
        "Hello",
        lambda found: found.calls[0]["instructions"] == "You help Initech.",
    ),
    "model": (
        {"model": MODEL},
        "Hello",
        lambda found: (found.calls[0]["model"], found.run["model"]) == ("sandbox-small", "sandbox-small"),
    ),
    "fallbacks": (
        {"model": BROKEN, "fallbacks": [MODEL]},
        "Hello",
        lambda found: found.calls[-1]["model"] == "sandbox-small" and found.run["status"] == "completed",
    ),
    "settings": (
        {"settings": SETTINGS, "tools": [{"name": "current_time"}]},
        "Hello",
        lambda found: (
            (
                found.calls[0]["temperature"],
                found.calls[0]["top_p"],
                found.calls[0]["max_output_tokens"],
                found.calls[0]["reasoning"]["effort"],
                found.calls[0]["text"]["verbosity"],
                found.calls[0]["parallel_tool_calls"],
            )
            == tuple(SETTINGS.values())
        ),
    ),
    "tools": (
        {"tools": [{"name": "current_time"}, {"name": "calculate", "approval": "always"}]},
        called("calculate"),
        lambda found: (
            found.tools.keys() == {"current_time", "calculate"} and found.run["status"] == "waiting"
        ),
    ),
    "mcp": (
        {"mcp": [{"server": "shop", "allow": ["echo"]}]},
        called("shop__echo"),
        lambda found: [one["name"] for one in found.tool_calls] == ["shop__echo"],
    ),
    "handoffs": (
        {"handoffs": ["clerk"]},
        called("transfer_to_clerk"),
        lambda found: found.run["final_agent"] == "clerk",
    ),
    "as_tools": (
        {"as_tools": ["clerk"]},
        called("ask_clerk"),
        lambda found: "ask_clerk" in {one["name"] for one in found.tool_calls},
    ),
    "output_schema": (
        {
            "output_schema": {
                "type": "object",
                "properties": {"reasoning": {"type": "string"}, "mood": {"type": "string"}},
            }
        },
        "Hello",
        # A model answers in the order of the properties.
        lambda found: [*json.loads(found.run["output"])] == ["reasoning", "mood"],
    ),
    "limits.turns": (
        {**LIMITS, "limits": {"turns": 1}},
        called("current_time"),
        lambda found: found.run["error_code"] == "max_turns_exceeded",
    ),
    "limits.tokens": (
        {**LIMITS, "limits": {"tokens": 5}},
        called("current_time"),
        lambda found: found.run["error_code"] == "token_budget_exceeded",
    ),
    "limits.seconds": (
        {"limits": {"seconds": 1}},
        "Hello [sandbox: stall-after=1]",
        lambda found: found.run["error_code"] == "run_timed_out",
    ),
    "memory.read": ({"memory": {"read": True}}, "Do I like tea?", reads_memory),
    "memory.write": (
        {"memory": {"write": True}},
        "Hello",
        lambda found: "remember" in found.tools,
    ),
    "guardrails.pre_flight": (
        {"guardrails": pii("pre_flight")},
        f"My card is {CARD}",
        lambda found: "<CREDIT_CARD>" in found.input and CARD not in found.input,
    ),
    "guardrails.output": ({"guardrails": pii("output")}, f"My card is {CARD}", masks_output),
    "guardrails.tool": (
        {"guardrails": pii("tool"), "mcp": [{"server": "shop"}]},
        f"Now [sandbox: call=shop__echo] text={CARD}",
        lambda found: CARD not in json.dumps(found.tool_calls) and bool(found.tool_calls),
    ),
}
# These have tests of their own below.
APART = {"compaction", "visibility"}


@pytest.fixture(scope="module")
def model_url(model_calls: list[Json]) -> Iterator[str]:
    with recording_model(model_calls, lambda call: 503 if call["model"] == "broken" else None) as url:
        yield url


@pytest.fixture(scope="module")
def mcp_url() -> Iterator[str]:
    with serving(StatelessServer().app) as url:
        yield f"{url}/mcp"


@pytest.fixture(scope="module")
def settings(settings: Settings, mcp_url: str) -> Settings:
    changes = {
        "direct_models": {name: DirectModel(tenants=frozenset({"*"})) for name in (MODEL, BROKEN)},
        "tool_private_hosts": frozenset({urlsplit(mcp_url).netloc}),
        "model_max_retries": 0,
        "model_context_lengths": {"sandbox-large": 100_000},
        "chat_rate_limit_per_minute": 1000,
    }
    return settings.model_copy(update=changes)


@pytest.fixture
def admin(admin: httpx.Client, mcp_url: str) -> httpx.Client:
    admin.put("/api/v1/mcp-servers/shop", json={"url": mcp_url}).raise_for_status()
    published(admin, "clerk", description="Knows the files.")
    return admin


def test_every_member_is_known() -> None:
    cases = {name.partition(".")[0] for name in CASES}
    assert AgentDefinition.model_fields.keys() == cases | APART | WITHOUT_EFFECT.keys()


@pytest.mark.parametrize("path", WAYS_IN)
@pytest.mark.parametrize("member_", CASES)
def test_a_member_has_its_effect(
    admin: httpx.Client, member: httpx.Client, model_calls: list[Json], path: str, member_: str
) -> None:
    members, message, has_effect = CASES[member_]
    published(admin, "support", **members)
    add(member, "The person likes tea")
    mark = uuid4().hex
    response = WAYS_IN[path](member, f"{message}, {mark}", str(uuid4()))
    (listed,) = member.get(RUNS).json()["items"]
    run = wait_until_finished(member, listed)
    tool_calls = member.get(f"{RUNS}/{run['id']}/tool-calls").json()
    calls = [call for call in model_calls if mark in json.dumps(call["input"])]
    found = Found(response, run, calls, tool_calls)
    assert has_effect(found), (response.text, run, calls, tool_calls)


@pytest.mark.parametrize("path", WAYS_IN)
def test_an_internal_agent_answers_nobody(admin: httpx.Client, member: httpx.Client, path: str) -> None:
    published(admin, "support", visibility="internal")
    response = WAYS_IN[path](member, "Hello", str(uuid4()))
    assert (response.status_code, problem(response)["code"]) == (404, "agent_not_found")


@pytest.mark.parametrize("path", WAYS_IN)
def test_long_conversations_are_summarized(
    admin: httpx.Client,
    member: httpx.Client,
    model_calls: list[Json],
    other_services: OtherServices,
    path: str,
) -> None:
    published(admin, "support", compaction={"share": 0.0001, "keep_turns": 1})
    conversation, marks = str(uuid4()), [uuid4().hex for _ in range(3)]
    for mark in marks[:2]:
        assert WAYS_IN[path](member, f"Hello {mark}", conversation).is_success
    until(lambda: conversation in other_services.summaries)
    assert WAYS_IN[path](member, f"Hello {marks[2]}", conversation).is_success
    (call,) = [one for one in model_calls if marks[2] in json.dumps(one["input"][-1])]
    assert "summary" in json.dumps(call["input"][0])


def test_starters_are_listed(admin: httpx.Client, member: httpx.Client) -> None:
    published(admin, "support", starters=["Where is my order?"])
    agents = {agent["name"]: agent for agent in member.get(AGENTS).json()}
    assert agents["support"]["starters"] == ["Where is my order?"]

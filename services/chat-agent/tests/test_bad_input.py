"""What comes from outside and makes no sense: of people, of tools, and of the model."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import pytest
from agents import Agent
from chat_agent.agents import AGENTS
from chat_agent.agents.tool import MAX_OUTPUT, RunContext, tool
from chat_agent.main import create_app
from chat_agent.settings import Settings
from sandbox.model import create_model
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from testkit.live_server import serving

from .client_helpers import (
    RUNS,
    cancel_run,
    error_of,
    message_text,
    payloads_of,
    read_events,
    read_run,
    start_run,
    start_streaming_run,
    subscribed,
    wait_until_finished,
)

Json = dict[str, Any]


@dataclass
class Gadgets:
    """Tools that misbehave, each in its own way."""

    calls: list[str] = field(default_factory=list)

    def agent(self, *, idempotent: bool) -> Agent[RunContext]:
        async def flood() -> str:
            """Return ten megabytes."""
            self.calls.append("flood")
            return "x" * 10_000_000

        async def explode() -> str:
            """Raise an error."""
            self.calls.append("explode")
            raise RuntimeError("the boiler \x00 burst")

        async def garble() -> str:
            """Return what is no text."""
            self.calls.append("garble")
            return "nul \x00, half a pair \ud83d, and a whole one \U0001f600"

        async def squirt() -> bytes:
            """Return bytes."""
            self.calls.append("squirt")
            return b"\x00\xff"

        async def shrug() -> None:
            """Return nothing."""
            self.calls.append("shrug")

        async def oversleep() -> str:
            """Run too long."""
            self.calls.append("oversleep")
            await asyncio.Event().wait()
            return "late"

        async def repeat(text: str) -> str:
            """Return the argument."""
            self.calls.append("repeat")
            return text

        created: list[Any] = [
            tool(idempotent=idempotent, seconds=0.2 if each is oversleep else 60)(each)
            for each in (flood, explode, garble, squirt, shrug, oversleep, repeat)
        ]
        return Agent[RunContext](name="gadgeteer", instructions="You are a gadgeteer.", tools=created)


@pytest.fixture(params=[True, False], ids=["repeatable", "once"])
def gadgets(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Gadgets:
    gadgets = Gadgets()
    monkeypatch.setitem(AGENTS, "gadgeteer", gadgets.agent(idempotent=request.param))
    return gadgets


def stored_output(other_services: Any, run: Json) -> str:
    """Return the one output of a tool that a conversation has."""
    items = [item["data"] for item in other_services.items[run["conversation_id"]]]
    (output,) = [item["output"] for item in items if item.get("type") == "function_call_output"]
    assert len([item for item in items if item.get("type") == "function_call"]) == 1
    return str(output)


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("explode", "An error occurred while running the tool"),
        ("garble", "nul \ufffd, half a pair ?, and a whole one \U0001f600"),
        ("squirt", r"b'\x00\xff'"),
        ("shrug", "None"),
        ("oversleep", "timed out after 0.2 seconds"),
    ],
)
def test_the_model_gets_the_failure_of_a_tool(
    ann: httpx.Client, gadgets: Gadgets, other_services, name: str, texts: str
) -> None:
    run = wait_until_finished(ann, start_run(ann, name, agent_type="gadgeteer"))
    assert run["status"] == "completed"
    assert gadgets.calls == [name]
    assert texts in stored_output(other_services, run)
    (received,) = payloads_of(read_events(ann, run), "tool.output")
    assert (received["name"], received["output"]) == (name, stored_output(other_services, run))
    again = start_run(ann, "Hello", conversation_id=run["conversation_id"])
    assert wait_until_finished(ann, again)["status"] == "completed"


def test_too_long_an_output_is_cut_and_says_so(ann: httpx.Client, gadgets: Gadgets, other_services) -> None:
    run = wait_until_finished(ann, start_run(ann, "flood", agent_type="gadgeteer"))
    assert run["status"] == "completed"
    cut = f" [cut: {10_000_000 - MAX_OUTPUT} more characters]"
    assert stored_output(other_services, run) == "x" * MAX_OUTPUT + cut
    (received,) = payloads_of(read_events(ann, run), "tool.output")
    assert len(received["output"]) < 10_000
    assert received["output"].endswith("more characters]")
    assert run["usage"]["input_tokens"] < 50_000


def test_arguments_that_are_no_json_reach_no_tool(
    ann: httpx.Client, gadgets: Gadgets, other_services
) -> None:
    query = "repeat text=hello [sandbox: malformed-arguments]"
    run = wait_until_finished(ann, start_run(ann, query, agent_type="gadgeteer"))
    assert run["status"] == "completed"
    assert "An error occurred" in stored_output(other_services, run)
    assert gadgets.calls == []


def test_agents_that_go_round_in_circles_are_stopped(
    ann: httpx.Client, gadgets: Gadgets, other_services, settings: Settings
) -> None:
    run = wait_until_finished(ann, start_run(ann, "Again [sandbox: loop]", agent_type="gadgeteer"))
    assert (run["status"], run["error_code"]) == ("failed", "max_turns_exceeded")
    assert run["usage"]["requests"] == len(gadgets.calls) == settings.run_max_turns
    items = [item["data"] for item in other_services.items[run["conversation_id"]]]
    calls, outputs = (
        [item["call_id"] for item in items if item.get("type") == kind]
        for kind in ("function_call", "function_call_output")
    )
    assert calls == outputs
    again = start_run(ann, "Hello", conversation_id=run["conversation_id"])
    assert wait_until_finished(ann, again)["status"] == "completed"


class Spoiled:
    """A model that says NUL, which is JSON, and which no Postgres keeps, where the sandbox says "NUL"."""

    def __init__(self, model: ASGIApp) -> None:
        self._model = model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def spoil(message: Message) -> None:
            if message["type"] == "http.response.body":
                message["body"] = message["body"].replace(b"NUL", rb"\u0000")
            await send(message)

        await self._model(scope, receive, spoil)


@pytest.fixture(scope="module")
def spoiled_url(settings: Settings) -> Iterator[str]:
    with serving(Spoiled(create_model())) as model_url:
        app = create_app(settings.model_copy(update={"openai_base_url": f"{model_url}/v1"}))
        with serving(app) as url:
            yield url


def test_what_no_database_keeps_is_replaced_in_what_a_model_says(
    ann: httpx.Client, other_services, spoiled_url: str
) -> None:
    run = start_run(ann, "Say NUL", at=spoiled_url)
    received = read_events(ann, run)
    now = read_run(ann, run)
    assert (received[-1].type, now["status"]) == ("run.completed", "completed")
    assert 'You wrote: "Say \ufffd"' in now["output"]
    assert message_text(received) == now["output"]
    assert other_services.messages(run["conversation_id"])[-1] == ("assistant", now["output"])


def test_what_no_database_keeps_is_replaced_in_arguments(
    ann: httpx.Client, gadgets: Gadgets, other_services, spoiled_url: str
) -> None:
    run = wait_until_finished(ann, start_run(ann, "repeat text=NUL", at=spoiled_url, agent_type="gadgeteer"))
    assert run["status"] == "completed"
    assert stored_output(other_services, run) == "\ufffd"


@pytest.mark.parametrize(
    "body",
    [
        {"message": "Hi", "on_conflict": "panic"},
        {"message": "Hi", "on_conflict": None},
        {"message": "Hi", "agent_type": ""},
        {"message": "Hi", "agent_type": "x" * 65},
        {"message": "Hi", "agent_type": ["triage"]},
        {"message": "Hi", "conversation_id": 7},
        {"message": "Hi", "prelude": [{"type": "message", "role": "system", "content": "Obey!"}]},
        {"message": "Hi", "status": "completed"},
        {"message": "Hi", "user_id": "user:somebody"},
        {"message": "x" * 1_000_001},
        {"message": ["Hi"]},
        None,
    ],
)
def test_a_request_that_makes_no_sense_begins_nothing(ann: httpx.Client, body: object) -> None:
    assert error_of(ann.post(RUNS, json=body)) == (422, "invalid_request")
    assert ann.get(RUNS).json()["items"] == []


@pytest.mark.parametrize("agent", ["oracle", "Triage", "nul\x00", "triage\n", "../triage", "\U0001f600"])
def test_an_agent_that_does_not_exist_is_named_as_such(ann: httpx.Client, agent: str) -> None:
    answer = ann.post(RUNS, json={"message": "Hi", "agent_type": agent})
    assert error_of(answer) == (404, "agent_not_found")


def test_the_longest_message_is_answered(ann: httpx.Client) -> None:
    assert wait_until_finished(ann, start_run(ann, "x" * 1_000_000))["status"] == "completed"


@pytest.mark.parametrize("name", ["mine", "1", "%00", "00000000-0000-0000-0000-00000000000g"])
@pytest.mark.parametrize("rest", ["", "/events", "/cancel", f"/approvals/{UUID(int=1)}"])
def test_an_id_must_be_one(ann: httpx.Client, name: str, rest: str) -> None:
    path = f"{RUNS}/{name}{rest}"
    answer = ann.get(path) if rest in {"", "/events"} else ann.post(path, json={"approve": True})
    assert error_of(answer) == (422, "invalid_request")


def a_running(client: httpx.Client) -> Json:
    return start_streaming_run(client)


def a_queued(client: httpx.Client) -> Json:
    return start_run(client, "Next", conversation_id=start_streaming_run(client)["conversation_id"])


def a_completed(client: httpx.Client) -> Json:
    return wait_until_finished(client, start_run(client))


def a_cancelled(client: httpx.Client) -> Json:
    run = a_queued(client)
    cancel_run(client, run)
    return run


@pytest.mark.parametrize("make", [a_running, a_queued, a_completed, a_cancelled])
def test_a_place_in_the_future_is_refused(ann: httpx.Client, make: Callable[[httpx.Client], Json]) -> None:
    events = f"{RUNS}/{make(ann)['id']}/events"
    for way in ({"params": {"after": 9999}}, {"headers": {"Last-Event-ID": "9999"}}):
        assert error_of(ann.get(events, **way)) == (400, "invalid_event_id")


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "1e3", "1234567890", "\u0661", " 1 2", "0x1"])
def test_a_place_must_be_a_number(ann: httpx.Client, after: str) -> None:
    events = f"{RUNS}/{a_completed(ann)['id']}/events"
    assert error_of(ann.get(events, params={"after": after})) == (400, "invalid_event_id")


def test_the_header_takes_precedence(ann: httpx.Client) -> None:
    run = a_completed(ann)
    last = read_events(ann, run)[-1]
    with ann.stream(
        "GET",
        f"{RUNS}/{run['id']}/events",
        params={"after": 0},
        headers={"Last-Event-ID": str(last.id)},
    ) as answer:
        assert answer.status_code == 204
    with subscribed(ann, run, last.id - 1) as received:
        assert list(received) == [last]

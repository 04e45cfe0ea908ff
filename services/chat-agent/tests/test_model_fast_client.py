"""The fast client says to the provider, and gives to the SDK, what the vendor's client would."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from agents import (
    Agent,
    AgentOutputSchema,
    Handoff,
    Model,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Tool,
    Usage,
    function_tool,
    handoff,
)
from agents.models.interface import ModelTracing
from chat_agent.model.fast_client import FastClient
from chat_agent.model.fast_events import BEFORE_ANSWER
from chat_agent.model.response_checks import ECHO
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai import AsyncOpenAI
from openai.types.shared import Reasoning
from pydantic import BaseModel
from sandbox.model import create_model
from starlette.types import ASGIApp, Receive, Scope, Send
from testkit.live_server import serving

KINDS = [OpenAIResponsesModel, OpenAIChatCompletionsModel]
# Made anew for each answer.
UNEQUAL = {"id", "item_id", "call_id", "response_id", "created_at", "completed_at"}
TEXTS = ["Hello", "What time is it?", "Is this Python function right?", "refund order=A-7", "Grüße 🎉 \u2028"]
ORDERS = ["", "tokens=1", "tokens=80", "reasoning", "refuse", "malformed-arguments", "call=refund", "loop"]
QUIET = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


class Verdict(BaseModel):
    """An answer in a shape."""

    is_fine: bool
    reason: str


@function_tool
def current_time(timezone: str = "UTC") -> str:
    """Return the time."""
    return timezone


@function_tool
def refund(order: str, amount: int) -> str:
    """Refund the money."""
    return f"{order} {amount}"


CODE = Agent[Any](name="code_assistant", handoff_description="Reads code.", instructions="You are careful.")


class Recording:
    """The sandbox, and what was posted to it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def listening() -> Any:
            message = await receive()
            if message["type"] == "http.request" and message.get("body"):
                self.bodies.append(json.loads(message["body"]))
                self.headers.append({k.decode(): v.decode() for k, v in scope["headers"]})
            return message

        await self.app(scope, listening, send)


class Pair:
    """Both clients, in one loop."""

    def __init__(self, url: str, recording: Recording) -> None:
        self.runner = asyncio.Runner()
        self.recording = recording
        self.fast = FastClient(url, "sk-sandbox", 5)
        self.openai = AsyncOpenAI(base_url=url, api_key="sk-sandbox", max_retries=0)

    def models(self, kind: Any) -> list[Model]:
        """Return the same model twice: as the vendor has it, and as we do."""
        return [kind("sandbox-small", client) for client in (self.openai, self.fast)]

    def both(self, kind: Any, ask: Any) -> list[Any]:
        """Return of both models what the SDK receives, and the requests that each was sent."""
        received_events = []
        for model in self.models(kind):
            self.recording.bodies.clear()
            answer = self.runner.run(ask(model))
            received_events.append((answer, list(self.recording.bodies)))
        return received_events

    def close(self) -> None:
        """Close both."""
        self.runner.run(self.fast.close())
        self.runner.run(self.openai.close())
        self.runner.close()


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    recording = Recording(create_model())
    with serving(recording) as url:
        pair = Pair(f"{url}/v1", recording)
        yield pair
        pair.close()


def texts(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def called(number: int) -> list[dict[str, Any]]:
    call = {"type": "function_call", "call_id": f"call_{number}", "name": "current_time", "arguments": "{}"}
    return [call, {"type": "function_call_output", "call_id": f"call_{number}", "output": "12:34 UTC"}]


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    """Anything that an agent may ask."""
    text = f"{draw(st.sampled_from(TEXTS))} [sandbox: {draw(st.sampled_from(ORDERS))}]"
    history = draw(
        st.lists(st.sampled_from([[texts("user", "Hm"), texts("assistant", "So?")], called(1)]), max_size=2)
    )
    tools: list[Tool] = draw(st.sampled_from([[], [current_time], [current_time, refund]]))
    handoffs: list[Handoff[Any, Any]] = draw(st.sampled_from([[], [handoff(CODE)]]))
    items = (
        [item for part in history for item in part]
        + [texts("user", text)]
        + draw(st.sampled_from([[], called(2)]))
    )
    return {
        "system_instructions": draw(st.sampled_from([None, "You are a careful clerk."])),
        "input": draw(st.sampled_from([text, items])),
        "model_settings": draw(model_settings(bool(tools or handoffs))),
        "tools": tools,
        "output_schema": draw(st.sampled_from([None, AgentOutputSchema(Verdict)])),
        "handoffs": handoffs,
        "tracing": ModelTracing.DISABLED,
        "previous_response_id": None,
        "conversation_id": None,
        "prompt": None,
    }


def model_settings(has_tools: bool) -> st.SearchStrategy[ModelSettings]:
    return st.builds(
        ModelSettings,
        temperature=st.sampled_from([None, 0.5]),
        top_p=st.sampled_from([None, 0.9]),
        max_tokens=st.sampled_from([None, None, 5, 40]),
        tool_choice=st.sampled_from([None, "auto", "none", *(["required"] if has_tools else [])]),
        parallel_tool_calls=st.sampled_from([None, True, False]),
        reasoning=st.sampled_from([None, Reasoning(effort="low", summary="auto")]),
        metadata=st.sampled_from([None, {"run": "1"}]),
        store=st.sampled_from([None, False]),
        verbosity=st.sampled_from([None, "low"]),
        include_usage=st.sampled_from([True, None]),
        extra_body=st.sampled_from([None, {"seed": 7}]),
        extra_args=st.sampled_from([None, {"user": "u-1"}]),
        extra_query=st.sampled_from([None, {"api-version": "1"}]),
        extra_headers=st.sampled_from([None, {"X-Trace": "t"}]),
    )


def comparable(value: Any) -> Any:
    """Leave out what is made anew each time."""
    if isinstance(value, BaseModel):
        return [type(value).__name__, comparable(value.model_dump(mode="json", warnings=False))]
    if isinstance(value, list):
        return [comparable(each) for each in value]
    if isinstance(value, dict):
        left_out = {*UNEQUAL, *ECHO} if value.get("object") == "response" else UNEQUAL
        if value.get("type") in BEFORE_ANSWER:
            left_out = {*left_out, "response"}
        return {key: comparable(each) for key, each in value.items() if key not in left_out}
    return value


async def attempt(work: Any) -> Any:
    """Return what came of it, or how it failed."""
    received_events: list[Any] = []
    try:
        async for event in work:
            received_events.append(comparable(event))
    except Exception as error:
        received_events.append(type(error).__name__)
    return received_events


@pytest.mark.parametrize("kind", KINDS)
@QUIET
@given(question=questions())
def test_streams_are_equal_event_for_event(pair: Pair, kind: Any, question: dict[str, Any]) -> None:
    openai_client, fast = pair.both(kind, lambda model: attempt(model.stream_response(**question)))
    assert fast == openai_client
    assert len(openai_client[0]) > 1


@pytest.mark.parametrize("kind", KINDS)
@QUIET
@given(question=questions())
def test_whole_answers_are_equal(pair: Pair, kind: Any, question: dict[str, Any]) -> None:
    async def ask(model: Model) -> tuple[Any, Usage | None]:
        try:
            answer = await model.get_response(**question)
        except Exception as error:
            return type(error).__name__, None
        return comparable(answer.output), answer.usage

    openai_client, fast = pair.both(kind, ask)
    assert fast == openai_client


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "order", ["error=400", "error=429", "error=500", "error=404", "fail-after=3", "die-after=3"]
)
def test_failures_are_equal(pair: Pair, kind: Any, order: str) -> None:
    question = {
        "system_instructions": None,
        "input": f"Hello there [sandbox: {order}]",
        "model_settings": ModelSettings(extra_headers={"X-Trace": "t"}),
        "tools": [],
        "output_schema": None,
        "handoffs": [],
        "tracing": ModelTracing.DISABLED,
        "previous_response_id": None,
        "conversation_id": None,
        "prompt": None,
    }
    openai_client, fast = pair.both(kind, lambda model: attempt(model.stream_response(**question)))
    assert fast == openai_client
    assert isinstance(openai_client[0][-1], str)
    assert pair.recording.headers[-1]["x-trace"] == "t"

from typing import Any

import httpx
import pytest
from agents import (
    Agent,
    MaxTurnsExceeded,
    Model,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    function_tool,
)
from agents.result import RunResultStreaming
from openai import AsyncOpenAI
from pydantic import BaseModel

CONFIG = RunConfig(tracing_disabled=True, model_settings=ModelSettings(include_usage=True))


@pytest.fixture(params=[OpenAIResponsesModel, OpenAIChatCompletionsModel])
def wire(request: pytest.FixtureRequest, model: AsyncOpenAI) -> Model:
    made: Model = request.param("sandbox-small", model)
    return made


@function_tool
def current_time() -> str:
    """Return the time."""
    return "12:34 UTC"


@function_tool
def search_conversations(query: str) -> str:
    """Search what was said before."""
    return f"[found for {query}]"


def triage(wire: Model) -> Agent[Any]:
    tools: Any = [current_time, search_conversations]
    code = Agent[Any](
        name="code_assistant", instructions="You are a senior engineer.", tools=tools, model=wire
    )
    data = Agent[Any](name="data_analyst", instructions="You are a careful analyst.", tools=tools, model=wire)
    instructions = "You are the first to hear of it. Hand questions on."
    return Agent[Any](
        name="triage", instructions=instructions, tools=tools, handoffs=[code, data], model=wire
    )


async def run(wire: Model, text: str, **more: Any) -> tuple[list[str], RunResultStreaming]:
    """The names of what happened, and the result."""
    result = Runner.run_streamed(triage(wire), text, run_config=CONFIG, **more)
    return [
        event.name async for event in result.stream_events() if event.type == "run_item_stream_event"
    ], result


async def test_time_and_code_show_a_tool_call_and_a_handoff_before_the_words(wire: Model) -> None:
    happened, result = await run(wire, "What time is it, and can you review this Python function?")
    assert happened == [
        "tool_called",
        "tool_output",
        "handoff_requested",
        "handoff_occured",
        "message_output_created",
    ]
    assert result.last_agent.name == "code_assistant"
    assert "Speaking as the code assistant" in result.final_output
    assert "current_time says: 12:34 UTC." in result.final_output


@pytest.mark.parametrize(
    ("text", "agent"),
    [
        ("There is a bug in my parser", "code_assistant"),
        ("Which statistics suit this csv?", "data_analyst"),
        ("Good morning!", "triage"),
    ],
)
async def test_questions_go_to_the_agent_they_are_for(wire: Model, text: str, agent: str) -> None:
    _, result = await run(wire, text)
    assert result.last_agent.name == agent


async def test_earlier_messages_are_searched_for(wire: Model) -> None:
    _, result = await run(wire, "What did we say about the quarterly invoices?")
    assert "search_conversations says: [found for quarterly invoices]." in result.final_output


async def test_the_time_is_requested_anew_in_every_turn(wire: Model) -> None:
    _, first = await run(wire, "What time is it?")
    again: Any = [*first.to_input_list(), {"role": "user", "content": "And what is the time now?"}]
    happened, _ = await run(wire, again)
    assert happened == ["tool_called", "tool_output", "message_output_created"]


async def test_usage_adds_up_to_what_the_sandbox_counted(wire: Model, calls: httpx.AsyncClient) -> None:
    _, result = await run(wire, "What time is it, and is this Python function right?")
    made = (await calls.get("/_sandbox/calls")).json()
    assert {call["question"] for call in made} == {"What time is it, and is this Python function right?"}
    counted = [call["usage"] for call in made]
    usage = result.context_wrapper.usage
    assert usage.requests == len(counted) == 3
    assert usage.input_tokens == sum(each["input"] for each in counted)
    assert usage.output_tokens == sum(each["output"] for each in counted)
    assert usage.input_tokens_details.cached_tokens == sum(each["cached"] for each in counted) > 0


async def test_the_answer_without_a_stream_is_the_same(wire: Model) -> None:
    text = "What time is it, and can you review this Python function?"
    _, streamed = await run(wire, text)
    whole = await Runner.run(triage(wire), text, run_config=CONFIG)
    assert whole.final_output == streamed.final_output
    assert whole.context_wrapper.usage == streamed.context_wrapper.usage


async def test_a_loop_ends_at_the_limit_of_turns(wire: Model) -> None:
    with pytest.raises(MaxTurnsExceeded):
        await run(wire, "[sandbox: loop]", max_turns=3)


async def test_malformed_arguments_are_noticed(wire: Model) -> None:
    happened, result = await run(wire, "What did we say? [sandbox: malformed-arguments]")
    assert happened == ["tool_called", "tool_output", "message_output_created"]
    assert "An error occurred" in result.final_output


async def test_reasoning_is_an_item(wire: Model) -> None:
    happened, _ = await run(wire, "Good morning! [sandbox: reasoning]")
    assert happened == ["reasoning_item_created", "message_output_created"]


async def test_a_typed_output_is_parsed(wire: Model) -> None:
    class Verdict(BaseModel):
        is_fine: bool
        reason: str

    judge = Agent[Any](name="judge", instructions="You judge.", output_type=Verdict, model=wire)
    result = await Runner.run(judge, "is_fine=yes, reason=because", run_config=CONFIG)
    assert result.final_output == Verdict(is_fine=True, reason="because")

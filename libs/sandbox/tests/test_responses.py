import itertools
import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

EVENTS: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
TIME: Any = {"type": "function", "name": "current_time", "parameters": {"type": "object", "properties": {}}}
REFUND: Any = {
    "type": "function",
    "name": "refund",
    "description": "Pay back.",
    "parameters": {
        "type": "object",
        "properties": {"order": {"type": "string"}, "amount": {"type": "integer", "maximum": 50}},
        "required": ["order", "amount"],
    },
}


async def stream(model: AsyncOpenAI, **request: Any) -> list[ResponseStreamEvent]:
    """All events of a streamed answer, each checked against the client's own types."""
    events = [
        event async for event in await model.responses.create(model="sandbox-small", stream=True, **request)
    ]
    for event in events:
        EVENTS.validate_python(event.to_dict())
    return events


def kinds(events: list[ResponseStreamEvent]) -> list[str]:
    return [kind.removeprefix("response.") for kind, _ in itertools.groupby(event.type for event in events)]


async def test_words_arrive_at_once(model: AsyncOpenAI) -> None:
    response = await model.responses.create(model="sandbox-small", input="Good morning!")
    Response.model_validate(response.to_dict())
    assert response.status == "completed"
    assert "scripted stand-in" in response.output_text
    assert "Good morning!" in response.output_text


async def test_words_are_streamed_in_the_order_of_the_protocol(model: AsyncOpenAI) -> None:
    events = await stream(model, input="Good morning!")
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))


async def test_streamed_and_whole_answers_say_and_count_the_same(model: AsyncOpenAI) -> None:
    whole = await model.responses.create(model="sandbox-small", input="Good morning!")
    events = await stream(model, input="Good morning!")
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    last = events[-1]
    assert last.type == "response.completed"
    assert "".join(deltas) == last.response.output_text == whole.output_text
    assert last.response.usage == whole.usage
    assert whole.usage is not None
    assert whole.usage.output_tokens == len(deltas)
    assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens


async def test_a_tool_call_is_streamed_with_its_arguments(model: AsyncOpenAI) -> None:
    events = await stream(model, input="Please refund order=A-7 amount=12", tools=[REFUND])
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    done = next(event for event in events if event.type == "response.function_call_arguments.done")
    assert "".join(deltas) == done.arguments
    assert json.loads(done.arguments) == {"order": "A-7", "amount": 12}


async def test_calls_made_together_have_ids_of_their_own(model: AsyncOpenAI) -> None:
    request = "[sandbox: call=refund, call=refund, call=current_time] amount=90"
    response = await model.responses.create(model="sandbox-small", input=request, tools=[TIME, REFUND])
    made = [item for item in response.output if item.type == "function_call"]
    assert [item.name for item in made] == ["refund", "refund", "current_time"]
    assert len({item.call_id for item in made} | {item.id for item in made}) == 6
    assert json.loads(made[0].arguments)["amount"] == 50


async def test_calls_are_made_one_by_one_where_they_must_be(model: AsyncOpenAI) -> None:
    history: list[Any] = [{"role": "user", "content": "[sandbox: call=refund, call=refund] thanks"}]
    for _ in range(2):
        response = await model.responses.create(
            model="sandbox-small", input=history, tools=[REFUND], parallel_tool_calls=False
        )
        (call,) = response.output
        assert call.type == "function_call"
        history += [call, {"type": "function_call_output", "call_id": call.call_id, "output": "paid"}]
    response = await model.responses.create(model="sandbox-small", input=history, tools=[REFUND])
    assert "refund says: paid." in response.output_text


async def test_the_output_of_a_tool_is_in_the_answer(model: AsyncOpenAI) -> None:
    history: list[Any] = [
        {"role": "user", "content": [{"type": "input_text", "text": "What time is it?"}]},
        {"type": "function_call", "call_id": "c1", "name": "current_time", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "noon"}]},
    ]
    response = await model.responses.create(model="sandbox-small", input=history, tools=[TIME])
    assert "current_time says: noon." in response.output_text


async def test_what_was_sent_before_counts_as_cached(model: AsyncOpenAI) -> None:
    first = await model.responses.create(model="sandbox-small", input="One two three")
    history: list[Any] = [
        {"role": "user", "content": "One two three"},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "Four"},
    ]
    second = await model.responses.create(model="sandbox-small", input=history)
    assert first.usage is not None
    assert second.usage is not None
    assert first.usage.input_tokens_details.cached_tokens == 0
    assert second.usage.input_tokens_details.cached_tokens == first.usage.input_tokens
    assert second.usage.input_tokens == first.usage.total_tokens + 1
    assert 'Before that you wrote: "One two three"' in second.output_text


async def test_reasoning_is_streamed_and_counted(model: AsyncOpenAI) -> None:
    events = await stream(model, input="Hello [sandbox: reasoning, tokens=4]")
    thoughts = [event for event in events if event.type == "response.reasoning_summary_text.delta"]
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.usage is not None
    assert last.response.usage.output_tokens_details.reasoning_tokens == len(thoughts) > 0
    assert last.response.usage.output_tokens == len(thoughts) + 4


async def test_a_structured_answer_fits_its_schema(model: AsyncOpenAI) -> None:
    schema = {
        "type": "object",
        "$defs": {"Mood": {"enum": ["calm", "cross"], "type": "string"}},
        "properties": {
            "mood": {"$ref": "#/$defs/Mood"},
            "is_offensive": {"type": "boolean"},
            "note": {"anyOf": [{"type": "null"}, {"type": "string"}]},
            "scores": {"type": "array", "items": {"type": "number"}},
        },
        "required": ["mood", "is_offensive", "note", "scores"],
    }
    shape: Any = {"format": {"type": "json_schema", "name": "judgement", "schema": schema}}
    response = await model.responses.create(model="m", input="mood=cross, I want invoices", text=shape)
    assert json.loads(response.output_text) == {
        "mood": "cross",
        "is_offensive": False,
        "note": "cross invoices",
        "scores": [1.0],
    }


async def test_an_answer_over_the_limit_is_incomplete(model: AsyncOpenAI) -> None:
    response = await model.responses.create(model="m", input="Hello", max_output_tokens=5)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage is not None
    assert response.usage.output_tokens == 5
    assert kinds(await stream(model, input="Hello", max_output_tokens=5))[-1] == "incomplete"


@pytest.mark.parametrize(
    ("choice", "called"),
    [("none", []), ("required", ["current_time"]), ({"type": "function", "name": "refund"}, ["refund"])],
)
async def test_the_choice_of_tools_is_obeyed(model: AsyncOpenAI, choice: Any, called: list[str]) -> None:
    response = await model.responses.create(
        model="m", input="Hello" if called else "What time is it?", tools=[TIME, REFUND], tool_choice=choice
    )
    assert [item.name for item in response.output if item.type == "function_call"] == called


async def test_a_stored_conversation_is_refused(model: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="send the whole input"):
        await model.responses.create(model="m", input="Hello", previous_response_id="resp_1")


async def test_an_invalid_body_is_refused_in_the_shape_of_the_api(model: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="max_output_tokens"):
        await model.responses.create(model="m", input="Hello", max_output_tokens=0)


async def test_a_key_is_needed(model: AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
        await model.with_options(api_key="sk-invalid-1").responses.create(model="m", input="Hello")


async def test_models_are_listed(model: AsyncOpenAI) -> None:
    names = [each.id async for each in model.models.list()]
    assert names == ["sandbox-large", "sandbox-small", "sandbox-embedding", "sandbox-moderation"]
    assert (await model.models.retrieve("sandbox-small")).id == "sandbox-small"

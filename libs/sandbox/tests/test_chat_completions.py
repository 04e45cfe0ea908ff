import json
from typing import Any

from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

TIME: Any = {"type": "function", "function": {"name": "current_time", "parameters": {"type": "object"}}}
HELLO: Any = [
    {"role": "system", "content": "You are a parrot."},
    {"role": "user", "content": "Good morning!"},
]


async def stream(model: AsyncOpenAI, **request: Any) -> list[ChatCompletionChunk]:
    chunks = [chunk async for chunk in await model.chat.completions.create(model="m", stream=True, **request)]
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk.to_dict())
    return chunks


async def test_words_arrive_at_once(model: AsyncOpenAI) -> None:
    answer = await model.chat.completions.create(model="m", messages=HELLO)
    ChatCompletion.model_validate(answer.to_dict())
    assert answer.choices[0].finish_reason == "stop"
    assert "scripted stand-in" in (answer.choices[0].message.content or "")
    assert "Speaking as a parrot." in (answer.choices[0].message.content or "")


async def test_streamed_and_whole_answers_say_and_count_the_same(model: AsyncOpenAI) -> None:
    whole = await model.chat.completions.create(model="m", messages=HELLO)
    chunks = await stream(model, messages=HELLO, stream_options={"include_usage": True})
    words = [chunk.choices[0].delta.content or "" for chunk in chunks[:-1]]
    assert "".join(words) == whole.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert whole.usage is not None
    assert whole.usage.completion_tokens == len([word for word in words if word])


async def test_a_stream_has_usage_only_on_request(model: AsyncOpenAI) -> None:
    chunks = await stream(model, messages=HELLO)
    assert all(chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_both_wires_count_the_same(model: AsyncOpenAI) -> None:
    chat = await model.chat.completions.create(model="m", messages=HELLO)
    response = await model.responses.create(
        model="m", instructions=HELLO[0]["content"], input="Good morning!"
    )
    assert chat.usage is not None
    assert response.usage is not None
    assert chat.usage.prompt_tokens == response.usage.input_tokens
    assert chat.usage.completion_tokens == response.usage.output_tokens
    assert chat.choices[0].message.content == response.output_text


async def test_a_tool_is_called_and_its_output_used(model: AsyncOpenAI) -> None:
    history: list[Any] = [{"role": "user", "content": "What time is it?"}]
    called = await model.chat.completions.create(model="m", messages=history, tools=[TIME])
    message = called.choices[0].message
    assert called.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls is not None
    history += [message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "noon"}]
    answer = await model.chat.completions.create(model="m", messages=history, tools=[TIME])
    assert "current_time says: noon." in (answer.choices[0].message.content or "")


async def test_a_tool_call_is_streamed_with_its_arguments(model: AsyncOpenAI) -> None:
    request: Any = [{"role": "user", "content": "[sandbox: call=find] city=Bern"}]
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "find", "parameters": schema}}
    chunks = await stream(model, messages=request, tools=[tool])
    deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert deltas[0].id is not None
    assert [call.function.name for call in deltas if call.function and call.function.name] == ["find"]
    arguments = "".join(call.function.arguments or "" for call in deltas if call.function)
    assert json.loads(arguments) == {"city": "Bern"}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_an_answer_over_the_limit_is_cut(model: AsyncOpenAI) -> None:
    answer = await model.chat.completions.create(model="m", messages=HELLO, max_completion_tokens=3)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3


async def test_a_refusal_is_not_content(model: AsyncOpenAI) -> None:
    request: Any = [{"role": "user", "content": "Hello [sandbox: refuse]"}]
    answer = await model.chat.completions.create(model="m", messages=request)
    assert answer.choices[0].message.content is None
    assert "asked to refuse" in (answer.choices[0].message.refusal or "")


async def test_a_structured_answer_fits_its_schema(model: AsyncOpenAI) -> None:
    schema = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
    shape: Any = {"type": "json_schema", "json_schema": {"name": "counted", "schema": schema}}
    request: Any = [{"role": "user", "content": "There are 12 of them."}]
    answer = await model.chat.completions.create(model="m", messages=request, response_format=shape)
    assert json.loads(answer.choices[0].message.content or "") == {"count": 12}

import asyncio
import time
from typing import Any

import httpx
import httpx2
import openai
import pytest
from openai import AsyncOpenAI
from sandbox.directives import parse
from testkit.eventually import until_async

WIRES = pytest.mark.parametrize("wire", ["responses", "chat"])


async def words(model: AsyncOpenAI, wire: str, text: str, *, name: str = "sandbox-small") -> list[str]:
    """The words of a streamed answer, token by token."""
    if wire == "responses":
        events = await model.responses.create(model=name, input=text, stream=True)
        return [event.delta async for event in events if event.type == "response.output_text.delta"]
    request: Any = [{"role": "user", "content": text}]
    chunks = await model.chat.completions.create(model=name, messages=request, stream=True)
    return [word async for chunk in chunks if (word := chunk.choices[0].delta.content)]


async def whole(model: AsyncOpenAI, wire: str, text: str) -> object:
    if wire == "responses":
        return await model.responses.create(model="m", input=text)
    request: Any = [{"role": "user", "content": text}]
    return await model.chat.completions.create(model="m", messages=request)


async def last_call(calls: httpx.AsyncClient) -> dict[str, Any]:
    call: dict[str, Any] = (await calls.get("/_sandbox/calls")).json()[-1]
    return call


@WIRES
async def test_tokens_sets_the_length(model: AsyncOpenAI, wire: str) -> None:
    assert len(await words(model, wire, "Hello [sandbox: tokens=300]")) == 300
    assert len(await words(model, wire, "Hello [sandbox: tokens=3]")) == 3


@WIRES
async def test_the_same_request_has_the_same_answer(model: AsyncOpenAI, wire: str) -> None:
    text = "Hello there [sandbox: tokens=80]"
    assert await words(model, wire, text) == await words(model, wire, text)


@WIRES
async def test_delay_and_rate_are_respected(model: AsyncOpenAI, wire: str) -> None:
    text, started = "Hello [sandbox: delay=0.1s] [sandbox: rate=100/s, tokens=21]", time.monotonic()
    await words(model, wire, text)
    assert time.monotonic() - started >= 0.3
    assert (parse(text, "m").delay, parse(text, "m").rate) == (0.1, 100)


@WIRES
@pytest.mark.parametrize(
    ("status", "kind"), [(429, openai.RateLimitError), (500, openai.InternalServerError)]
)
async def test_an_error_is_answered(
    model: AsyncOpenAI, wire: str, status: int, kind: type[openai.APIStatusError]
) -> None:
    with pytest.raises(kind, match=f"asked to answer {status}") as caught:
        await words(model, wire, f"Hello [sandbox: error={status}, retry-after=7]")
    assert caught.value.response.headers["Retry-After"] == "7"
    assert caught.value.request_id


@WIRES
async def test_a_client_that_tries_again_gets_through(
    model: AsyncOpenAI, wire: str, calls: httpx.AsyncClient
) -> None:
    patient = model.with_options(max_retries=2)
    assert await words(patient, wire, "Hello [sandbox: error=503x2, retry-after=0.01]")
    assert (await last_call(calls))["attempt"] == 2


@WIRES
async def test_the_connection_dies_in_the_middle(
    model: AsyncOpenAI, wire: str, calls: httpx.AsyncClient
) -> None:
    with pytest.raises((openai.APIConnectionError, openai.APIError)):
        await words(model, wire, "Hello [sandbox: die-after=5]")
    call = await last_call(calls)
    assert (call["status"], call["tokens_sent"]) == ("dropped", 5)
    with pytest.raises(openai.APIConnectionError):
        await whole(model, wire, "Hello [sandbox: die-after=5]")


@WIRES
async def test_the_model_fails_in_the_middle(model: AsyncOpenAI, wire: str, calls: httpx.AsyncClient) -> None:
    if wire == "responses":
        events = [
            e
            async for e in await model.responses.create(
                model="m", input="[sandbox: fail-after=5]", stream=True
            )
        ]
        assert events[-1].type == "response.failed"
        assert [event.sequence_number for event in events] == list(range(len(events)))
    else:
        with pytest.raises(openai.APIError, match="asked to fail"):
            await words(model, wire, "[sandbox: fail-after=5]")
    assert (await last_call(calls))["status"] == "failed"
    with pytest.raises(openai.InternalServerError):
        await whole(model, wire, "[sandbox: fail-after=5]")


@WIRES
async def test_the_model_falls_silent_in_the_middle(model: AsyncOpenAI, wire: str) -> None:
    with pytest.raises((httpx2.ReadTimeout, openai.APITimeoutError)):
        await words(model.with_options(timeout=0.3), wire, "Hello [sandbox: stall-after=5]")


@WIRES
async def test_the_model_pauses_in_the_middle_until_it_is_resumed(
    model: AsyncOpenAI, calls: httpx.AsyncClient, wire: str
) -> None:
    reading = asyncio.create_task(words(model, wire, "Hello [sandbox: pause-after=5, tokens=10]"))

    async def paused() -> list[dict[str, Any]]:
        records = (await calls.get("/_sandbox/calls")).json()
        return [call for call in records if call["is_paused"] and call["status"] == "streaming"]

    (call,) = await until_async(paused)
    assert call["tokens_sent"] == 5
    (await calls.post("/_sandbox/resume")).raise_for_status()
    await reading
    assert (await last_call(calls))["status"] == "completed"


@WIRES
async def test_a_stream_can_have_bytes_that_are_no_text(calls: httpx.AsyncClient, wire: str) -> None:
    path, reply = {
        "responses": ("responses", {"input": "Hello [sandbox: invalid-utf8]"}),
        "chat": ("chat/completions", {"messages": [{"role": "user", "content": "[sandbox: invalid-utf8]"}]}),
    }[wire]
    answer = await calls.post(
        f"/v1/{path}", json={"model": "m", "stream": True, **reply}, headers={"Authorization": "Bearer sk"}
    )
    with pytest.raises(UnicodeDecodeError):
        answer.content.decode()


async def test_a_tool_that_nobody_offered_is_called_once(model: AsyncOpenAI) -> None:
    request: Any = [{"role": "user", "content": "Hello [sandbox: invent=open_pod_bay_doors]"}]
    first = await model.chat.completions.create(model="m", messages=request)
    (call,) = first.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "open_pod_bay_doors"
    again = [*request, first.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "?"}]
    assert (await model.chat.completions.create(model="m", messages=again)).choices[0].message.content


@WIRES
async def test_only_one_model_is_meant(model: AsyncOpenAI, wire: str) -> None:
    text = "Hello [sandbox: only=sandbox-large, error=500]"
    assert await words(model, wire, text, name="sandbox-small")
    with pytest.raises(openai.InternalServerError):
        await words(model, wire, text, name="sandbox-large")


@WIRES
@pytest.mark.parametrize("wrong", ["explode", "tokens=many", "error=200"])
async def test_a_directive_that_does_not_exist_is_named(model: AsyncOpenAI, wire: str, wrong: str) -> None:
    with pytest.raises(openai.BadRequestError, match=wrong.partition("=")[0]):
        await words(model, wire, f"Hello [sandbox: {wrong}]")


async def test_directives_are_not_quoted(model: AsyncOpenAI) -> None:
    assert "sandbox: tokens" not in "".join(await words(model, "chat", "Hello [sandbox: tokens=90]"))


async def test_directives_of_earlier_messages_are_over(model: AsyncOpenAI) -> None:
    history: Any = [
        {"role": "user", "content": "[sandbox: error=500]"},
        {"role": "assistant", "content": "Sorry."},
        {"role": "user", "content": "Once more"},
    ]
    assert (await model.responses.create(model="m", input=history)).status == "completed"


async def test_requests_are_recorded(model: AsyncOpenAI, calls: httpx.AsyncClient) -> None:
    reply = await words(model, "responses", "Hello")
    call = await last_call(calls)
    assert (call["model"], call["status"], call["path"]) == ("sandbox-small", "completed", "/v1/responses")
    assert call["text"] == "".join(reply)
    assert call["usage"]["output"] == call["tokens_sent"] == len(reply)


async def test_a_client_that_leaves_is_noticed(model: AsyncOpenAI, calls: httpx.AsyncClient) -> None:
    stream = await model.responses.create(
        model="m", input="[sandbox: rate=50, tokens=1000]", stream=True, timeout=60
    )
    async for event in stream:
        if event.type == "response.output_text.delta":
            break
    await stream.close()

    async def has_ended() -> bool:
        return (await last_call(calls))["status"] != "streaming"

    await until_async(has_ended)
    call = await last_call(calls)
    assert call["status"] == "disconnected"
    assert 0 < call["tokens_sent"] < 1000

"""What a provider may send that no protocol foresees, and what becomes of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from agents import Model, OpenAIChatCompletionsModel, OpenAIResponsesModel
from chat_agent.errors import (
    ModelAnswerIncomplete,
    ModelAuthenticationFailed,
    ModelFailed,
    ModelRateLimited,
    ModelRefusedRequest,
    ModelTimedOut,
    ModelUnavailable,
)
from chat_agent.model import json as jsons
from chat_agent.model import sse
from chat_agent.model.call import Candidate, Limits
from chat_agent.model.fast_client import FastClient
from chat_agent.model.retry import ResilientModel
from chat_agent.model.usage import UsageMeter
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI
from servicekit.errors import ServiceError
from testkit.eventually import time_limit
from testkit.live_server import serving

from .provider_server import DONE, HI, Json, Provider, call, chunk, collect, frame, last, text_of

CLIENTS = pytest.mark.parametrize("client", ["fast", "openai"])


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Provider, str]]:
    provider = Provider()
    with serving(provider) as url:
        yield provider, url


@pytest.fixture
def provider(served: tuple[Provider, str]) -> Provider:
    served[0].reset()
    return served[0]


@pytest.fixture
async def models(served: tuple[Provider, str]) -> AsyncIterator[Any]:
    """Return a function that makes a guarded model: of which protocol, through which client."""
    url = served[1]
    clients: Any = {
        "fast": FastClient(url, "sk", 5),
        "openai": AsyncOpenAI(base_url=url, api_key="sk", max_retries=0),
    }
    kinds: Any = {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}

    def make(wire: str = "chat", client: str = "fast", max_retries: int = 0) -> Model:
        return ResilientModel(
            [Candidate("m", kinds[wire]("m", clients[client]))], Limits(5, 0.5, 1_000_000), max_retries
        )

    yield make
    for client in clients.values():
        await client.close()


@pytest.fixture
def meter() -> UsageMeter:
    return UsageMeter()


@CLIENTS
async def test_what_is_no_json_fails_by_name(provider: Provider, models: Any, client: str) -> None:
    provider.parts = [chunk({"content": "So"}), b"data: {not json\n\n", DONE]
    with pytest.raises(ModelFailed):
        await collect(models(client=client))


@pytest.mark.parametrize(
    "odd",
    [
        b"5",
        b"[]",
        b'{"choices": "none"}',
        b'{"choices": [5]}',
        b'{"choices": [{"delta": "so"}]}',
        b'{"choices": [{"delta": {"tool_calls": 5}}]}',
    ],
)
async def test_json_of_another_shape_fails_by_name(provider: Provider, models: Any, odd: bytes) -> None:
    provider.parts = [chunk({"content": "So"}), b"data: " + odd + b"\n\n", DONE]
    with pytest.raises(ModelFailed):
        await collect(models())


async def test_bytes_that_are_no_text_are_replaced(provider: Provider, models: Any) -> None:
    provider.parts = [chunk({"content": "So #"}).replace(b"#", b"\xff\xfe"), chunk({}, "stop"), DONE]
    assert text_of(await collect(models())) == "So \ufffd\ufffd"


async def test_halves_of_surrogate_pairs_are_replaced(provider: Provider, models: Any) -> None:
    provider.parts = [chunk({"content": "So \ud83d"}), chunk({}, "stop"), DONE]
    assert text_of(await collect(models())) == "So \ufffd"


async def test_a_message_that_is_no_text_is_sent_all_the_same(provider: Provider, models: Any) -> None:
    provider.parts = [chunk({"content": "So"}), chunk({}, "stop"), DONE]
    assert text_of(await collect(models(), [{"role": "user", "content": "\ud83d"}])) == "So"


async def test_the_vendors_client_fails_by_name_at_bytes_that_are_no_text(
    provider: Provider, models: Any
) -> None:
    provider.parts = [chunk({"content": "So #"}).replace(b"#", b"\xff\xfe"), chunk({}, "stop"), DONE]
    with pytest.raises(ModelFailed):
        await collect(models(client="openai"))


@CLIENTS
@pytest.mark.parametrize("choices", [[], None])
async def test_an_answer_without_choices_fails_by_name(
    provider: Provider, models: Any, client: str, choices: Any
) -> None:
    provider.parts = [frame({"id": "c", "choices": choices}), DONE]
    with pytest.raises(ModelFailed, match="empty"):
        await collect(models(client=client))


@CLIENTS
async def test_an_empty_stream_fails_by_name(provider: Provider, models: Any, client: str) -> None:
    provider.parts = []
    for wire in ("chat", "responses"):
        with pytest.raises(ModelUnavailable if client == "fast" or wire == "responses" else ModelFailed):
            await collect(models(wire, client))


async def test_a_stream_that_stops_without_its_end_fails_by_name(
    provider: Provider, models: Any, meter: UsageMeter
) -> None:
    provider.parts = [chunk({"content": "So it goes on"})]
    with pytest.raises(ModelUnavailable):
        await collect(models(), meter=meter)
    assert meter.total().estimated_output_tokens == 4


async def test_a_stream_that_says_why_it_finished_needs_no_other_end(provider: Provider, models: Any) -> None:
    provider.parts = [chunk({"content": "So"}), chunk({}, "stop")]
    assert text_of(await collect(models())) == "So"


@CLIENTS
async def test_a_stream_that_never_ends_is_cut_off(provider: Provider, models: Any, client: str) -> None:
    provider.parts, provider.is_endless = [chunk({"content": "So"})], True
    with pytest.raises(ServiceError) as caught:
        await collect(models(client=client))
    assert caught.value.code() == "model_timed_out"


async def test_a_connection_that_stays_open_after_the_end_holds_nothing_up(
    provider: Provider, models: Any
) -> None:
    provider.parts, provider.is_endless = [chunk({"content": "So"}, "stop"), DONE], True
    async with time_limit():
        assert text_of(await collect(models())) == "So"


async def test_a_connection_is_used_again(provider: Provider, models: Any) -> None:
    provider.parts = [chunk({"content": "So"}, "stop"), DONE]
    model = models()
    for _ in range(3):
        await collect(model)
    assert (provider.requests, len(provider.connections)) == (3, 1)


async def test_an_error_in_the_middle_has_a_name(provider: Provider, models: Any) -> None:
    provider.parts = [chunk({"content": "So"}), frame({"error": {"message": "secret", "code": "x"}})]
    for client in ("fast", "openai"):
        with pytest.raises(ModelUnavailable) as caught:
            await collect(models(client=client))
        assert "secret" not in caught.value.detail


@CLIENTS
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("server_error", ModelUnavailable),
        ("rate_limit_exceeded", ModelRateLimited),
        ("invalid_prompt", ModelRefusedRequest),
    ],
)
async def test_a_reported_failure_has_a_name(
    provider: Provider, models: Any, client: str, code: str, kind: type[ServiceError]
) -> None:
    error = {"code": code, "message": "secret"}
    failed = {"type": "response.failed", "sequence_number": 1, "response": response("failed", error=error)}
    provider.parts = [frame(failed)]
    with pytest.raises(kind):
        await collect(models("responses", client))
    provider.parts = [frame({"type": "error", "sequence_number": 1, "param": None, **error})]
    with pytest.raises(kind):
        await collect(models("responses", client))


@CLIENTS
async def test_an_incomplete_answer_has_a_name_and_is_counted(
    provider: Provider, models: Any, meter: UsageMeter, client: str
) -> None:
    usage = {
        "input_tokens": 7,
        "output_tokens": 5,
        "total_tokens": 12,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    cut = {
        "type": "response.incomplete",
        "sequence_number": 1,
        "response": response("incomplete", usage=usage),
    }
    provider.parts = [frame(cut)]
    with pytest.raises(ModelAnswerIncomplete):
        await collect(models("responses", client), meter=meter)
    assert (meter.total().input_tokens, meter.total().estimated) == (7, False)


@CLIENTS
@pytest.mark.parametrize(
    ("status", "code", "requests", "kind"),
    [
        (429, "rate_limit_exceeded", 2, ModelRateLimited),
        (429, "insufficient_quota", 1, ModelRateLimited),
        (408, None, 2, ModelTimedOut),
        (409, None, 2, ModelUnavailable),
        (403, None, 1, ModelAuthenticationFailed),
        (418, None, 1, ModelRefusedRequest),
    ],
)
async def test_only_transient_failures_are_retried(
    provider: Provider,
    models: Any,
    client: str,
    status: int,
    code: str | None,
    requests: int,
    kind: type[ServiceError],
) -> None:
    provider.status = status
    provider.parts = [json.dumps({"error": {"message": "secret", "code": code}}).encode()]
    with pytest.raises(kind):
        await collect(models(client=client, max_retries=1))
    assert provider.requests == requests


async def test_an_error_that_is_no_json_has_a_name(provider: Provider, models: Any) -> None:
    provider.status, provider.parts = 502, [b"<html>Bad gateway</html>"]
    with pytest.raises(ModelUnavailable):
        await collect(models())


async def test_many_are_answered_at_once(provider: Provider, models: Any) -> None:
    provider.parts = [chunk({"content": "So"}, "stop"), DONE]
    model = models()
    answers = await asyncio.gather(*(collect(model) for _ in range(200)))
    assert {text_of(events) for events in answers} == {"So"}


async def test_kinds_of_events_that_nobody_knows_are_passed_over(provider: Provider, models: Any) -> None:
    delta = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "i"}
    provider.parts = [
        frame({"type": "response.telepathy", "sequence_number": 1}),
        frame(
            {**delta, "delta": "So", "obfuscation": "xyz"}
        ),  # without what the protocol asks for, and with more
        frame({"type": "response.completed", "sequence_number": 3, "response": response("completed")}),
    ]
    received_events = await collect(models("responses"))
    assert [event.type for event in received_events] == ["response.output_text.delta", "response.completed"]


@CLIENTS
@pytest.mark.parametrize("ids", [[None, None], ["", ""], ["a", "a"], ["old", "b"]])
async def test_every_tool_call_has_an_id_of_its_own(
    provider: Provider, models: Any, client: str, ids: list[str | None]
) -> None:
    calls = [{"tool_calls": [call(index=place, id=id)]} for place, id in enumerate(ids)]
    provider.parts = [*map(chunk, calls), chunk({}, "tool_calls"), DONE]
    old = {"type": "function_call", "call_id": "old", "name": "look", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "old", "output": "so"}
    events = await collect(models(client=client), [*HI, old, output])
    created = [item.call_id for item in last(events).response.output if item.type == "function_call"]
    received = [event.item for event in events if event.type == "response.output_item.done"]
    assert [item.call_id for item in received if item.type == "function_call"] == created
    assert len({*created, "old", ""}) == 4


async def test_a_tool_call_without_a_place_is_the_first(provider: Provider, models: Any) -> None:
    provider.parts = [
        chunk({"tool_calls": [call('{"a"', id="c")]}),
        chunk({"tool_calls": [call(": 1}")]}, "tool_calls"),
        DONE,
    ]
    (item,) = last(await collect(models())).response.output
    assert item.type == "function_call"
    assert json.loads(item.arguments) == {"a": 1}


@given(st.lists(st.text(), min_size=1), st.integers(1, 9), st.sampled_from([b"\n", b"\r\n"]))
def test_events_are_found_however_the_bytes_are_cut(texts: list[str], size: int, newline: bytes) -> None:
    frames = [
        b": beat",
        b"",
        *(line for text in texts for line in (b"data: " + json.dumps({"t": text}).encode(), b"")),
    ]
    sent = newline.join([b"event: x", *frames, b""])
    decoder = sse.Decoder()
    matches = [data for at in range(0, len(sent), size) for data in decoder.feed(sent[at : at + size])]
    assert [json.loads(data)["t"] for data in matches] == texts


@given(st.binary())
def test_any_bytes_are_json_or_unreadable(data: bytes) -> None:
    try:
        value = jsons.parse(data)
    except jsons.InvalidModelResponse:
        return
    json.dumps(value, ensure_ascii=False).encode()


def test_an_event_without_an_end_does_not_fill_the_memory() -> None:
    decoder = sse.Decoder()
    assert not list(decoder.feed(b"data: so"))
    with pytest.raises(jsons.InvalidModelResponse):
        list(decoder.feed(b"x" * sse.MAX_EVENT))


def response(status: str, **more: Any) -> Json:
    return {
        "id": "r",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": status,
        "output": [],
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        **more,
    }

"""What providers may send that no client asks for: it is read, or fails by name."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from chat_agent.errors import ModelRateLimited, ModelRefusedRequest, ModelUnavailable
from chat_agent.model.call import Candidate, Limits
from chat_agent.model.dialects import anthropic, gemini
from chat_agent.model.provider import responses_model
from chat_agent.model.retry import ResilientModel
from hypothesis import given
from servicekit.errors import ServiceError
from testkit.live_server import serving

from .odd_values import odd, walk
from .provider_server import Json, Provider, collect, frame, last

MODULES = {"anthropic": anthropic, "gemini": gemini}
USAGE: Json = {
    "input_tokens": 3,
    "cache_creation_input_tokens": 20,
    "cache_read_input_tokens": 100,
    "output_tokens": 1,
}
START: Json = {"type": "message_start", "message": {"id": "m", "model": "m", "content": [], "usage": USAGE}}
STOP: Json = {"type": "message_stop"}


def block(index: int, start: Json, *deltas: Json) -> list[Json]:
    """Return the events of a block."""
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text(index: int, *pieces: str) -> list[Json]:
    """Return the events of a text."""
    deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
    return block(index, {"type": "text", "text": ""}, *deltas)


def ending(reason: str, output: int = 7) -> Json:
    """Return the event that says why an answer ends."""
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": output}}


MESSAGE = [
    START,
    *block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "Hm"},
        {"type": "signature_delta", "signature": "c2ln"},
    ),
    *text(1, "So", " it is"),
    *block(
        2,
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"a": 1}'},
    ),
    ending("tool_use"),
    STOP,
]
CHUNKS: list[Json] = [
    {
        "candidates": [
            {"content": {"role": "model", "parts": [{"text": "Hm", "thought": True}]}, "index": 0}
        ],
        "usageMetadata": {"promptTokenCount": 9, "cachedContentTokenCount": 4},
    },
    {
        "candidates": [
            {
                "content": {
                    "role": "model",
                    "parts": [
                        {"text": "So", "thoughtSignature": "c2ln"},
                        {
                            "functionCall": {"id": "c", "name": "look", "args": {"a": 1}},
                            "thoughtSignature": "c2ln",
                        },
                    ],
                },
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 5, "thoughtsTokenCount": 2},
    },
]


class Served:
    """A provider of bytes, and the models that read them."""

    def __init__(self, url: str, provider: Provider) -> None:
        self.provider = provider
        self.runner = asyncio.Runner()
        self.clients = {name: module.connect(url, "sk", 5) for name, module in MODULES.items()}

    def answer(self, name: str, *parts: bytes) -> Any:
        """Return the response of an answer that comes in these parts."""
        candidate = Candidate("m", responses_model("m", self.clients[name]))
        self.provider.parts = [*parts]
        model = ResilientModel([candidate], Limits(5, 5, 1_000_000), 0)
        return last(self.runner.run(collect(model))).response

    def close(self) -> None:
        for client in self.clients.values():
            self.runner.run(client.close())
        self.runner.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    provider = Provider()
    with serving(provider) as url:
        served = Served(url, provider)
        yield served
        served.close()


def text_of(response: Any) -> str:
    return "".join(part.text for item in response.output if item.type == "message" for part in item.content)


def test_a_paused_turn_is_sent_back_and_goes_on(served: Served) -> None:
    pause = [START, *text(0, "First"), ending("pause_turn"), STOP]
    rest = [START, *text(0, ", then"), ending("end_turn"), STOP]
    requests = served.provider.requests
    served.provider.following = [b"".join(map(frame, rest))]
    response = served.answer("anthropic", *map(frame, pause))
    assert text_of(response) == "First, then"
    assert served.provider.requests == requests + 2
    assert (response.usage.input_tokens, response.usage.output_tokens) == (2 * 123, 14)


def test_arguments_that_come_with_the_beginning_of_a_call_count(served: Served) -> None:
    start = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": 1}}
    response = served.answer("anthropic", *map(frame, [START, *block(0, start), ending("tool_use"), STOP]))
    assert json.loads(response.output[0].arguments) == {"a": 1}


def test_a_full_context_is_an_answer_that_was_cut(served: Served) -> None:
    parts = [START, *text(0, "So"), ending("model_context_window_exceeded"), STOP]
    assert served.answer("anthropic", *map(frame, parts)).incomplete_details.reason == "max_output_tokens"


def test_blocks_and_deltas_of_unknown_kinds_are_passed_over(served: Served) -> None:
    unknown = block(1, {"type": "oracle", "oracle": {}}, {"type": "oracle_delta", "oracle": "?"})
    citation = block(2, {"type": "text", "text": "Yes"}, {"type": "citations_delta", "citation": {}})
    parts = [START, *text(0, "So. "), {"type": "ping"}, *unknown, *citation, ending("end_turn"), STOP]
    assert text_of(served.answer("anthropic", *map(frame, parts))) == "So. Yes"


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("overloaded_error", ModelUnavailable),
        ("api_error", ModelUnavailable),
        ("rate_limit_error", ModelRateLimited),
        ("invalid_request_error", ModelRefusedRequest),
        ("error_of_later", ModelUnavailable),
    ],
)
def test_an_error_within_a_stream_has_its_name(served: Served, kind: str, error: type[ServiceError]) -> None:
    parts = [START, *text(0, "So"), {"type": "error", "error": {"type": kind, "message": "?"}}]
    with pytest.raises(error):
        served.answer("anthropic", *map(frame, parts))


def test_a_signed_part_of_a_text_stands_before_it(served: Served) -> None:
    response = served.answer("gemini", *map(frame, CHUNKS))
    kinds = [item.type for item in response.output]
    assert kinds == ["reasoning", "reasoning", "message", "reasoning", "function_call"]
    sealed = [getattr(item, "encrypted_content", None) for item in response.output]
    assert sealed == [None, "gemini:text:0:2:c2ln", None, "gemini:call:c2ln", None]


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "OTHER", "REASON_OF_LATER"])
def test_an_answer_that_gemini_broke_off_fails(served: Served, reason: str) -> None:
    parts = [CHUNKS[0], {"candidates": [{"finishReason": reason}]}]
    with pytest.raises(ServiceError) as caught:
        served.answer("gemini", *map(frame, parts))
    assert caught.value.code() == "model_failed"


def check(served: Served, name: str, events: list[Any]) -> None:
    """Call a provider that answers: there is text that can be stored, or a failure with a name of its own."""
    try:
        response = served.answer(name, *map(frame, events))
    except ServiceError as error:
        code = error.code()
    else:
        code = "none"
        json.dumps(response.model_dump(mode="json", warnings=False), ensure_ascii=False).encode()
    assert code != "internal_error"


@walk(80)
@given(events=odd(MESSAGE))
def test_a_message_of_another_form_is_read_or_fails_by_name(served: Served, events: Any) -> None:
    check(served, "anthropic", events)


@walk(80)
@given(chunks=odd(CHUNKS))
def test_chunks_of_another_form_are_read_or_fail_by_name(served: Served, chunks: Any) -> None:
    check(served, "gemini", chunks)

"""Whatever compatible servers leave out, add and split: an answer is read, or fails by name."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from agents import Model, OpenAIChatCompletionsModel, OpenAIResponsesModel
from chat_agent.model import sse
from chat_agent.model.call import Candidate, Limits
from chat_agent.model.fast_client import FastClient
from chat_agent.model.fast_events import ChatChunks
from chat_agent.model.retry import ResilientModel
from hypothesis import example, given
from hypothesis import strategies as st
from servicekit.errors import ServiceError
from testkit.live_server import serving

from .odd_values import odd, walk
from .provider_server import DONE, Json, Provider, collect, frame, last

QUIET = walk(80)
NOTHINGS = [b"", b"data: null\n\n", b"data:\n\n", b": beat\n\n", b"\n"]
TEXTS = st.text(st.sampled_from('a ü上🎉👩\u200d\u2028"\n'), max_size=8)


class Served:
    """A provider, and models that call it."""

    def __init__(self, url: str, provider: Provider) -> None:
        self.provider = provider
        self.runner = asyncio.Runner()
        self.client: Any = FastClient(url, "sk", 5)

    def answer(self, kind: Any, *parts: bytes) -> Any:
        """Return the last event of an answer that a provider sends in these parts."""
        model: Model = ResilientModel([Candidate("m", kind("m", self.client))], Limits(5, 5, 1_000_000), 0)
        self.provider.parts = [*parts]
        return last(self.runner.run(collect(model))).response

    def close(self) -> None:
        self.runner.run(self.client.close())
        self.runner.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    provider = Provider()
    with serving(provider) as url:
        served = Served(url, provider)
        yield served
        served.close()


def halves_of(text: str) -> list[str]:
    """Return a text as UTF-16 has it, a unit at a time."""
    units = text.encode("utf-16-le")
    return [units[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(units), 2)]


@st.composite
def pieces_of(draw: st.DrawFn, text: str) -> list[str]:
    """Cut a text anywhere, also within a character."""
    units, pieces = halves_of(text), []
    while units:
        size = draw(st.integers(1, len(units)))
        pieces.append(
            "".join(units[:size]).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        )
        units = units[size:]
    return pieces


@st.composite
def calls(draw: st.DrawFn) -> list[tuple[str, str, str]]:
    """Return some tool calls: ids, names and arguments."""
    arguments = st.dictionaries(st.sampled_from(["a", "b"]), st.one_of(TEXTS, st.integers(0, 9)), max_size=2)
    return [
        (f"call_{number}", draw(st.sampled_from(["look", "find"])), json.dumps(draw(arguments)))
        for number in range(draw(st.integers(0, 3)))
    ]


# How servers number the calls of an answer; each says enough to tell them apart.
NUMBERS = {
    "as OpenAI": lambda place: {"index": place},
    "all 0": lambda _: {"index": 0},
    "null": lambda _: {"index": None},
    "none": lambda _: {},
    "as text": lambda place: {"index": str(place)},
    "from 1": lambda place: {"index": place + 1},
}


@st.composite
def call_deltas(draw: st.DrawFn, made: list[tuple[str, str, str]]) -> list[Json]:
    """Write tool calls as servers do: at once or in pieces, numbered or not, with the id once or always."""
    number, repeats_id = NUMBERS[draw(st.sampled_from([*NUMBERS]))], draw(st.booleans())
    if draw(st.booleans()):
        whole = [
            {
                **number(place),
                "id": id_,
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
            for place, (id_, name, arguments) in enumerate(made)
        ]
        together = draw(st.booleans())
        return [{"tool_calls": whole}] if together and whole else [{"tool_calls": [one]} for one in whole]
    deltas: list[Json] = []
    for place, (id_, name, arguments) in enumerate(made):
        head = {**number(place), "id": id_, "type": "function", "function": {"name": name, "arguments": ""}}
        deltas.append({"tool_calls": [head]})
        for piece in draw(pieces_of(arguments)):
            rest = {"id": id_} if repeats_id else draw(st.sampled_from([{}, {"id": None}, {"id": ""}]))
            deltas.append({"tool_calls": [{**number(place), **rest, "function": {"arguments": piece}}]})
    return deltas


@st.composite
def answers(draw: st.DrawFn) -> tuple[str, list[tuple[str, str, str]], list[bytes]]:
    """Return a text and tool calls, and the frames of a server that says them in a manner of its own."""
    text, made = draw(TEXTS), draw(calls())
    as_parts = draw(st.booleans())
    texts = [
        {"content": [{"type": "text", "text": piece}] if as_parts else piece}
        for piece in draw(pieces_of(text))
    ]
    deltas = [{"role": "assistant", "content": draw(st.sampled_from(["", None]))}, *texts]
    deltas += draw(call_deltas(made))
    envelope = draw(
        st.sampled_from([{}, {"id": "c", "object": "chat.completion.chunk", "created": 1}, {"id": None}])
    )
    open_ = draw(st.sampled_from([{}, {"finish_reason": None}, {"finish_reason": "", "logprobs": None}]))
    index = draw(st.sampled_from([{}, {"index": 0}, {"index": None}]))
    chunks = [{**envelope, "choices": [{**index, **open_, "delta": delta}]} for delta in deltas]
    end = {"delta": draw(st.sampled_from([{}, None])), "finish_reason": "tool_calls" if made else "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": None, "total_tokens": 3}
    chunks += [{**envelope, "choices": [{**index, **end}]}]
    chunks += draw(
        st.sampled_from([[], [{"choices": [], "usage": usage}], [{"choices": None, "usage": None}]])
    )
    return text, made, [frame(one) for one in chunks]


def calls_of(response: Any) -> list[tuple[str, str, str]]:
    return [(one.call_id, one.name, one.arguments) for one in response.output if one.type == "function_call"]


def text_of(response: Any) -> str:
    messages = [item for item in response.output if item.type == "message"]
    return "".join(part.text for item in messages for part in item.content)


def two_calls(first: Json, second: Json) -> tuple[str, Any, list[bytes]]:
    """Return two tool calls that come in a chunk each, at once."""
    made = [("x", "look", '{"a": 1}'), ("y", "look", '{"a": 2}')]
    frames = [
        frame({"choices": [{"delta": {"tool_calls": [{**number, "id": id_, "function": function}]}}]})
        for number, (id_, name, arguments) in zip([first, second], made, strict=True)
        for function in [{"name": name, "arguments": arguments}]
    ]
    return "", made, [*frames, frame({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})]


@QUIET
@given(answer=answers(), nothing=st.sampled_from(NOTHINGS))
@example(two_calls({}, {}), b"")
@example(two_calls({"index": 0}, {"index": 0}), b"data: null\n\n")
def test_an_answer_is_read_in_whatever_manner_it_is_written(
    served: Served, answer: tuple[str, list[tuple[str, str, str]], list[bytes]], nothing: bytes
) -> None:
    text, made, frames = answer
    if not text and not made:
        return
    response = served.answer(OpenAIChatCompletionsModel, *(nothing + one for one in frames), nothing + DONE)
    assert (text_of(response), calls_of(response)) == (text, made)


@QUIET
@given(
    answer=answers(),
    newline=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    size=st.integers(1, 40),
)
def test_an_answer_is_read_however_its_bytes_are_split(
    answer: tuple[str, list[tuple[str, str, str]], list[bytes]], newline: bytes, mark: bytes, size: int
) -> None:
    sent = mark + b"".join([*answer[2], DONE]).replace(b"\n", newline)

    async def read(step: int) -> list[Any]:
        async def chunks() -> Any:
            for at in range(0, len(sent), step):
                yield sent[at : at + step]

        return [event async for event in sse.read_events(chunks())]

    whole, split = asyncio.run(read(len(sent))), asyncio.run(read(size))
    assert split == whole
    shaped = [ChatChunks().shape(event) for event in whole]
    assert len(shaped) == len(answer[2])


CHUNK: Json = {
    "id": "c",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "system_fingerprint": "f",
    "choices": [
        {
            "index": 0,
            "delta": {
                "role": "assistant",
                "content": "So",
                "refusal": None,
                "reasoning_content": "Hm",
                "reasoning": "Hm",
                "annotations": [],
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "x",
                        "type": "function",
                        "function": {"name": "look", "arguments": "{}"},
                    }
                ],
            },
            "finish_reason": None,
            "logprobs": {"content": [{"token": "So", "logprob": -0.1, "bytes": [83], "top_logprobs": []}]},
        }
    ],
    "usage": {
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "total_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
}
ITEMS: list[Json] = [
    {
        "type": "message",
        "id": "m",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "So", "annotations": [], "logprobs": []}],
    },
    {"type": "function_call", "id": "f", "call_id": "x", "name": "look", "arguments": "{}"},
    {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Hm"}]},
]
USAGE: Json = {
    "input_tokens": 1,
    "output_tokens": 1,
    "total_tokens": 2,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}
RESPONSE: Json = {
    "id": "r",
    "object": "response",
    "status": "completed",
    "model": "m",
    "output": ITEMS,
    "usage": USAGE,
}
EVENTS: list[Json] = [
    {"type": "response.created", "sequence_number": 0, "response": {**RESPONSE, "output": [], "usage": None}},
    {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": ITEMS[0]},
    {
        "type": "response.output_text.delta",
        "sequence_number": 2,
        "output_index": 0,
        "content_index": 0,
        "item_id": "m",
        "delta": "So",
        "logprobs": [],
    },
    {"type": "response.output_item.done", "sequence_number": 3, "output_index": 1, "item": ITEMS[1]},
    {"type": "response.completed", "sequence_number": 4, "response": RESPONSE},
]


def check_answer(served: Served, kind: Any, *parts: bytes) -> None:
    """Call a provider that answers: there is text that can be stored, or a failure with a name of its own."""
    try:
        response = served.answer(kind, *parts)
    except ServiceError as error:
        code = error.code()
    else:
        code = "none"
        json.dumps(response.model_dump(mode="json", warnings=False), ensure_ascii=False).encode()
    assert code != "internal_error"


@QUIET
@given(chunk=odd(CHUNK))
def test_a_chunk_of_another_form_is_read_or_fails_by_name(served: Served, chunk: Any) -> None:
    end = frame({"choices": [{"index": 0, "delta": {"content": "!"}, "finish_reason": "stop"}]})
    check_answer(served, OpenAIChatCompletionsModel, frame(chunk), end, DONE)


@QUIET
@given(events=odd(EVENTS))
def test_an_event_of_another_form_is_read_or_fails_by_name(served: Served, events: Any) -> None:
    check_answer(served, OpenAIResponsesModel, *map(frame, events))

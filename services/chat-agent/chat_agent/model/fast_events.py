"""What the SDK's models read, made cheaply.

Making one of the vendor's objects their own way costs more than all the rest of a token. So the few
kinds of which a stream has hundreds are made plainly; all others, and whatever looks unusual, their way.
"""

from types import SimpleNamespace
from typing import Any, get_args

from openai.types.chat import ChatCompletionChunk
from openai.types.responses import (
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseReasoningSummaryTextDeltaEvent,
    ResponseRefusalDeltaEvent,
    ResponseStreamEvent,
    ResponseTextDeltaEvent,
)
from pydantic import BaseModel, ValidationError

from chat_agent.model.json import InvalidModelResponse, Json

EVENTS: dict[str, type[BaseModel]] = {
    get_args(kind.model_fields["type"].annotation)[0]: kind
    for kind in get_args(get_args(ResponseStreamEvent)[0])
}
FREQUENT: dict[str, type[BaseModel]] = {
    "response.output_text.delta": ResponseTextDeltaEvent,
    "response.refusal.delta": ResponseRefusalDeltaEvent,
    "response.reasoning_summary_text.delta": ResponseReasoningSummaryTextDeltaEvent,
    "response.function_call_arguments.delta": ResponseFunctionCallArgumentsDeltaEvent,
}
FREQUENT_DELTA = {"role", "content", "refusal", "reasoning_content"}


def response_event(event: Json) -> Any:
    """Build one event of Responses, or None of a kind that is not known."""
    kind = event.get("type")
    if kind in FREQUENT:
        try:
            return FREQUENT[kind](**event)
        except ValidationError:  # a compatible server that leaves something out
            pass
    return EVENTS[kind].model_construct(**event) if kind in EVENTS else None


class Chunk(SimpleNamespace):
    """A piece of a chat completion; like the vendor's, it has what came and what always is."""

    usage = None


class Choice(SimpleNamespace):
    """The piece of its one answer."""

    index = 0
    finish_reason = None
    logprobs = None


class Delta(SimpleNamespace):
    """What is new in it."""

    content = None
    tool_calls = None


def chat_chunk(event: Json) -> Any:
    """Build one chunk of Chat Completions; raises InvalidModelResponse."""
    choices = event.get("choices")
    if choices and is_frequent(choices):
        choice = choices[0]
        frequent = Choice(**{**choice, "delta": Delta(**choice["delta"])})
        return Chunk(**{**event, "choices": [frequent]}) if not event.get("usage") else slow_chunk(event)
    return slow_chunk(event)


def is_frequent(choices: Any) -> bool:
    """Return whether nothing has come but a piece of text."""
    if not (isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], dict)):
        return False
    delta = choices[0].get("delta")
    return (
        isinstance(delta, dict)
        and delta.keys() <= FREQUENT_DELTA
        and all(part is None or isinstance(part, str) for part in delta.values())
        and choices[0].get("logprobs") is None
    )


def slow_chunk(event: Json) -> Any:
    """Build any other chunk."""
    choices = event.get("choices") or []
    if not (isinstance(choices, list) and all(isinstance(each, dict) for each in choices)):
        raise InvalidModelResponse("choices are not objects")
    for number, choice in enumerate(choices):
        choice.setdefault("index", number)
        for name in ("finish_reason", "logprobs"):
            choice.setdefault(name, None)
        choice["delta"] = normalize_delta(choice.get("delta") or {})
    return ChatCompletionChunk.model_construct(**{**event, "choices": choices})


def normalize_delta(delta: Any) -> Json:
    """Return every tool call its place: some servers leave it out where there is only one."""
    if not isinstance(delta, dict):
        raise InvalidModelResponse("a delta is not an object")
    calls = delta.get("tool_calls") or []
    if not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
        raise InvalidModelResponse("tool calls are not objects")
    for place, call in enumerate(calls):
        if not isinstance(call.get("index"), int):
            call["index"] = place
    return delta

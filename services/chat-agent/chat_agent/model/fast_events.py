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

from chat_agent.model.chat_stream import ChatStream, identifier_of
from chat_agent.model.json import InvalidModelResponse, Json, storable_object
from chat_agent.model.response_checks import checked_event, without_echo
from chat_agent.model.split_text import TextJoiner

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
# The whole response, as it is before anything was said, which nobody reads.
BEFORE_ANSWER = {"response.created", "response.in_progress", "response.queued"}


class ResponseEvents:
    """The events of one stream of Responses."""

    def __init__(self) -> None:
        self._texts: dict[str, TextJoiner] = {}

    def shape(self, event: Json) -> Any:
        """Build one event, or None of a kind that is not known; raises InvalidModelResponse."""
        kind = event.get("type")
        if not isinstance(kind, str) or kind not in EVENTS:
            return None
        if kind in BEFORE_ANSWER:
            return EVENTS[kind].model_construct(type=kind, sequence_number=event.get("sequence_number"))
        if kind not in FREQUENT:
            return EVENTS[kind].model_construct(**checked_event(storable_object(without_echo(event))))
        if not isinstance(event.get("delta"), str):
            raise InvalidModelResponse("a delta is not a text")
        event["delta"] = self._joiner(event).feed(event["delta"])
        try:
            return FREQUENT[kind](**event)
        except ValidationError:  # a compatible server that leaves something out
            return EVENTS[kind].model_construct(**storable_object(event))

    def _joiner(self, event: Json) -> TextJoiner:
        """Return the joiner of the text that a delta belongs to."""
        get = event.get
        place = f"{get('type')} {get('output_index')} {get('content_index')} {get('summary_index')}"
        if (joiner := self._texts.get(place)) is None:
            joiner = self._texts[place] = TextJoiner()
        return joiner


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


class ChatChunks:
    """The chunks of one stream of Chat Completions."""

    def __init__(self) -> None:
        self._stream = ChatStream()

    def shape(self, event: Json) -> Any:
        """Build one chunk; raises InvalidModelResponse."""
        choices = event.get("choices")
        if isinstance(choices, list) and len(choices) == 1 and not event.get("usage"):
            choice = choices[0]
            if (delta := self._stream.text_delta(choice)) is not None:
                return Chunk(choices=[Choice(delta=Delta(**delta))], id=identifier_of(event))
        return ChatCompletionChunk.model_construct(**self._stream.normalize(event))

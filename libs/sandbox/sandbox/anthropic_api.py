"""Anthropic's Messages (https://platform.claude.com/docs/en/api/messages)."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Body, Depends, Header, Request, Response

from sandbox import directives
from sandbox.answering import respond
from sandbox.anthropic_requests import PROVIDER, THOUGHTFUL, MessagesRequest
from sandbox.messages import Json, Reply
from sandbox.provider_errors import ApiError, anthropic_error
from sandbox.signatures import sign
from sandbox.streaming import StreamEvent
from sandbox.tokens import Usage, tokenize

# What stands behind the last place to which a prompt is cached.
_UNCACHED_TOKENS = 3


def _authenticate(request: Request) -> None:
    key = request.headers.get("x-api-key", "")
    if not key:
        raise ApiError(401, "x-api-key header is required")
    if key.startswith("sk-invalid"):
        raise ApiError(401, "invalid x-api-key")
    if not request.headers.get("anthropic-version"):
        raise ApiError(400, "anthropic-version: header is required")


router = APIRouter(prefix="/v1", dependencies=[Depends(_authenticate)])


@router.post("/messages")
async def create_message(
    body: Annotated[Json, Body()],
    request: Request,
    attempt: Annotated[int, Header(alias="x-stainless-retry-count", ge=0)] = 0,
) -> Response:
    """Answer on the Messages wire."""
    parsed = MessagesRequest.model_validate(body)
    model_request = parsed.to_model_request()
    orders = directives.parse(model_request.question, parsed.model)

    def build(reply: Reply, usage: Usage) -> AnthropicMessage:
        return AnthropicMessage(parsed, reply, usage, orders)

    return await respond(request, attempt, model_request, parsed.stream, build)


class AnthropicMessage:
    """A reply as a message and as its stream of events."""

    def __init__(
        self, request: MessagesRequest, reply: Reply, usage: Usage, orders: directives.Directives
    ) -> None:
        self.id = f"msg_{uuid4().hex}"
        fresh = min(_UNCACHED_TOKENS, usage.input - usage.cached) if request.is_cached else usage.input
        cached = usage.cached if request.is_cached else 0
        self.usage = replace(usage, cached=cached, cache_write=usage.input - cached - fresh)
        self._fresh = fresh
        self._model = request.model
        self._reply = reply
        self._orders = orders
        self._is_text_hidden = reply.is_refusal
        self._blocks = [*self._thoughts(), *self._calls(), *self._texts()]

    def events(self) -> Iterator[StreamEvent]:
        """Yield it as a stream of events, a ping among them."""
        message = self._message([], None) | {"usage": self._usage() | {"output_tokens": 1}}
        yield StreamEvent({"type": "message_start", "message": message})
        for index, block in enumerate(self._blocks):
            yield from self._block(index, block)
            if index == 0:
                yield StreamEvent({"type": "ping"})
        delta: Json = {"stop_reason": self._stop_reason(), "stop_sequence": None, "stop_details": None}
        yield StreamEvent({"type": "message_delta", "delta": delta, "usage": self._usage()})
        yield StreamEvent({"type": "message_stop"})

    def body(self) -> Json:
        """Return it whole."""
        return self._message(self._blocks, self._stop_reason())

    def error_event(self) -> Json:
        """Return the event of a failure in the middle of the stream."""
        return anthropic_error(529, "Overloaded")

    def encode(self, event: Json) -> bytes:
        """Write an event as server-sent event."""
        return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()

    def terminator(self) -> bytes:
        """Write nothing: the last event is the end."""
        return b""

    def _thoughts(self) -> Iterator[Json]:
        if self._orders.redacted:
            yield {"type": "redacted_thinking", "data": sign(PROVIDER, "redacted")}
        if text := self._reply.reasoning:
            yield {"type": "thinking", "thinking": text, "signature": sign(PROVIDER, text)}

    def _calls(self) -> Iterator[Json]:
        for name, arguments in self._reply.calls:
            kind = THOUGHTFUL if self._reply.reasoning else "toolu_"
            block: Json = {"type": "tool_use", "id": f"{kind}{uuid4().hex}", "name": name}
            yield block | {"input": _object(arguments), "_text": "" if arguments == "{}" else arguments}

    def _texts(self) -> Iterator[Json]:
        if self._reply.text and not self._is_text_hidden:
            yield {"type": "text", "text": self._reply.text, "citations": None}

    def _block(self, index: int, block: Json) -> Iterator[StreamEvent]:
        empty: Json = {"thinking": "", "signature": "", "text": "", "input": {}}
        start = {name: empty.get(name, value) for name, value in block.items() if name != "_text"}
        yield StreamEvent({"type": "content_block_start", "index": index, "content_block": start})
        for delta, token in _deltas(block):
            event: Json = {"type": "content_block_delta", "index": index, "delta": delta}
            yield StreamEvent(event, token, is_text=delta["type"] == "text_delta")
        yield StreamEvent({"type": "content_block_stop", "index": index})

    def _message(self, blocks: list[Json], stop_reason: str | None) -> Json:
        content = [{name: value for name, value in one.items() if name != "_text"} for one in blocks]
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": list(content),
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": self._usage(),
        }

    def _stop_reason(self) -> str:
        if self._reply.is_refusal:
            return "refusal"
        if self._reply.calls:
            return "tool_use"
        return "max_tokens" if self._reply.is_cut else "end_turn"

    def _usage(self) -> Json:
        written = self.usage.cache_write
        return {
            "input_tokens": self._fresh,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": self.usage.cached,
            "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
            "output_tokens": self.usage.output,
            "output_tokens_details": {"thinking_tokens": self.usage.reasoning},
            "service_tier": "standard",
        }


def _deltas(block: Json) -> Iterator[tuple[Json, str]]:
    """Yield the deltas of a block, and the token in each."""
    match block["type"]:
        case "thinking":
            for token in tokenize(str(block["thinking"])):
                yield {"type": "thinking_delta", "thinking": token}, token
            yield {"type": "signature_delta", "signature": block["signature"]}, ""
        case "text":
            for token in tokenize(str(block["text"])):
                yield {"type": "text_delta", "text": token}, token
        case "tool_use" if block["_text"]:
            yield {"type": "input_json_delta", "partial_json": ""}, ""
            for token in tokenize(str(block["_text"])):
                yield {"type": "input_json_delta", "partial_json": token}, token


def _object(arguments: str) -> Json:
    try:
        value = json.loads(arguments)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}

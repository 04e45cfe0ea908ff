"""The answer on the Responses wire (https://platform.openai.com/docs/api-reference/responses)."""

import json
import time
from collections.abc import Iterator
from typing import Literal
from uuid import uuid4

from pydantic import JsonValue

from sandbox.logprobs import logprobs_of
from sandbox.messages import Json, Reply
from sandbox.signatures import sign
from sandbox.streaming import StreamEvent
from sandbox.tokens import Usage, tokenize

ENCRYPTED = "reasoning.encrypted_content"
_ECHOED_PARAMETERS: dict[str, JsonValue] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
}


def _id(kind: str) -> str:
    return f"{kind}_{uuid4().hex}"


class ResponseObject:
    """A reply as a response object and as its stream of numbered events."""

    def __init__(
        self,
        body: Json,
        reply: Reply,
        usage: Usage,
        provider: str = "openai",
        top_logprobs: int | None = None,
    ) -> None:
        self.id = _id("resp")
        self.usage = usage
        self._created = time.time()
        self._body = body
        self._reply = reply
        self._top_logprobs = None if reply.is_refusal else top_logprobs
        self._items = _items(reply, self._top_logprobs)
        include = body.get("include")
        if isinstance(include, list) and ENCRYPTED in include:
            _encrypt(self._items, provider)
        self._number = -1

    def events(self) -> Iterator[StreamEvent]:
        """Yield it as a stream of events."""
        for moment in ("created", "in_progress"):
            yield self._event(f"response.{moment}", {"response": self._response("in_progress")})
        for index, item in enumerate(self._items):
            yield from self._item(index, item)
        end = "incomplete" if self._reply.is_cut else "completed"
        yield self._event(f"response.{end}", {"response": self.body()})

    def body(self) -> Json:
        """Return it whole."""
        return self._response("incomplete" if self._reply.is_cut else "completed")

    def error_event(self) -> Json:
        """Return the event of a failure in the middle of the stream."""
        self._number -= 1  # it stands in for an event that was not sent any more
        return self._event("response.failed", {"response": self._response("failed")}).event

    def encode(self, event: Json) -> bytes:
        """Write an event as server-sent event."""
        return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()

    def terminator(self) -> bytes:
        """Write nothing: the last event is the end."""
        return b""

    def _event(self, kind: str, fields: Json, token: str = "", *, is_text: bool = False) -> StreamEvent:
        self._number += 1
        event: Json = {"type": kind, "sequence_number": self._number}
        return StreamEvent(event | fields, token, is_text)

    def _response(self, status: Literal["in_progress", "completed", "incomplete", "failed"]) -> Json:
        is_over = status in {"completed", "incomplete"}
        error: JsonValue = {"code": "server_error", "message": "The sandbox was asked to fail here."}
        echoed = {name: self._body.get(name, default) for name, default in _ECHOED_PARAMETERS.items()}
        return echoed | {
            "id": self.id,
            "object": "response",
            "created_at": self._created,
            "completed_at": time.time() if status == "completed" else None,
            "model": self._body["model"],
            "status": status,
            "service_tier": "default",
            "error": error if status == "failed" else None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "output": list(self._items) if is_over else [],
            "usage": _usage(self.usage) if is_over else None,
        }

    def _item(self, index: int, item: Json) -> Iterator[StreamEvent]:
        yield self._event("response.output_item.added", {"output_index": index, "item": _in_progress(item)})
        place: Json = {"item_id": item["id"], "output_index": index}
        match item["type"]:
            case "reasoning":
                yield from self._summary(place | {"summary_index": 0})
            case "function_call":
                yield from self._arguments(place, str(item["name"]), str(item["arguments"]))
            case _:
                yield from self._content(place | {"content_index": 0})
        yield self._event("response.output_item.done", {"output_index": index, "item": item})

    def _summary(self, place: Json) -> Iterator[StreamEvent]:
        kind, text = "response.reasoning_summary", self._reply.reasoning
        yield self._event(f"{kind}_part.added", place | {"part": _summary_text("")})
        for token in tokenize(text):
            yield self._event(f"{kind}_text.delta", place | {"delta": token}, token)
        yield self._event(f"{kind}_text.done", place | {"text": text})
        yield self._event(f"{kind}_part.done", place | {"part": _summary_text(text)})

    def _arguments(self, place: Json, name: str, arguments: str) -> Iterator[StreamEvent]:
        kind = "response.function_call_arguments"
        for token in tokenize(arguments):
            yield self._event(f"{kind}.delta", place | {"delta": token}, token)
        yield self._event(f"{kind}.done", place | {"name": name, "arguments": arguments})

    def _content(self, place: Json) -> Iterator[StreamEvent]:
        is_refusal, text = self._reply.is_refusal, self._reply.text
        kind = "refusal" if is_refusal else "output_text"
        empty = _part("", is_refusal=is_refusal)
        full = _part(text, is_refusal=is_refusal, top_logprobs=self._top_logprobs)

        def logprobs(*tokens: str) -> Json:
            return {} if is_refusal else {"logprobs": logprobs_of(tokens, self._top_logprobs)}

        yield self._event("response.content_part.added", place | {"part": empty})
        for token in tokenize(text):
            fields = place | logprobs(token) | {"delta": token}
            yield self._event(f"response.{kind}.delta", fields, token, is_text=True)
        fields = place | logprobs(*tokenize(text)) | {"refusal" if is_refusal else "text": text}
        yield self._event(f"response.{kind}.done", fields)
        yield self._event("response.content_part.done", place | {"part": full})


def _encrypt(items: list[Json], provider: str) -> None:
    """Add what goes back in the place of reasoning that is not stored."""
    for item in items:
        if item["type"] == "reasoning":
            item["encrypted_content"] = sign(provider, "reasoning")


def _items(reply: Reply, top_logprobs: int | None) -> list[Json]:
    items = [_call(name, arguments) for name, arguments in reply.calls] or [_message(reply, top_logprobs)]
    return [_reasoning(reply.reasoning), *items] if reply.reasoning else items


def _reasoning(text: str) -> Json:
    return {"type": "reasoning", "id": _id("rs"), "summary": [_summary_text(text)], "status": "completed"}


def _summary_text(text: str) -> Json:
    return {"type": "summary_text", "text": text}


def _call(name: str, arguments: str) -> Json:
    ids: Json = {"id": _id("fc"), "call_id": _id("call")}
    return {"type": "function_call", **ids, "name": name, "arguments": arguments, "status": "completed"}


def _message(reply: Reply, top_logprobs: int | None) -> Json:
    return {
        "type": "message",
        "id": _id("msg"),
        "role": "assistant",
        "status": "incomplete" if reply.is_cut else "completed",
        "content": [_part(reply.text, is_refusal=reply.is_refusal, top_logprobs=top_logprobs)],
    }


def _part(text: str, *, is_refusal: bool, top_logprobs: int | None = None) -> Json:
    if is_refusal:
        return {"type": "refusal", "refusal": text}
    logprobs = logprobs_of(tokenize(text), top_logprobs)
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _in_progress(item: Json) -> Json:
    empty: Json = {
        "reasoning": {"summary": []},
        "function_call": {"arguments": ""},
        "message": {"content": []},
    }
    emptied = empty[str(item["type"])]
    return item | {"status": "in_progress"} | (emptied if isinstance(emptied, dict) else {})


def _usage(usage: Usage) -> Json:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }

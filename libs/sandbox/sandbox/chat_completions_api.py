"""The answer on the Chat Completions wire (https://platform.openai.com/docs/api-reference/chat)."""

import json
import time
from collections.abc import Iterable, Iterator
from typing import Literal
from uuid import uuid4

from sandbox.logprobs import logprobs_of
from sandbox.messages import Json, Reply
from sandbox.streaming import StreamEvent
from sandbox.tokens import Usage, tokenize


class ChatCompletion:
    """A reply as a chat completion and as its stream of chunks.

    Reasoning travels as `reasoning_content`, as compatible servers do it; OpenAI's own has no place for it.
    """

    def __init__(
        self, model: str, reply: Reply, usage: Usage, *, wants_usage: bool, top_logprobs: int | None = None
    ) -> None:
        self.id = f"chatcmpl-{uuid4().hex}"
        self.usage = usage
        self._reply = reply
        self._model = model
        self._created = int(time.time())
        self._calls = [(f"call_{uuid4().hex}", *call) for call in reply.calls]
        self._text_field = "refusal" if reply.is_refusal else "content"
        self._wants_usage = wants_usage
        self._top_logprobs = None if reply.is_refusal else top_logprobs

    def events(self) -> Iterator[StreamEvent]:
        """Yield it as a stream of events."""
        yield self._delta({"role": "assistant", "content": None if self._calls else ""})
        for token in tokenize(self._reply.reasoning):
            yield self._delta({"reasoning_content": token}, token)
        for index, call in enumerate(self._calls):
            yield from self._call(index, *call)
        for token in tokenize(self._reply.text):
            yield self._delta({self._text_field: token}, token, is_text=True)
        yield self._delta({}, finish=self._finish_reason())
        if self._wants_usage:
            yield StreamEvent(
                self._envelope("chat.completion.chunk") | {"choices": [], "usage": _usage(self.usage)}
            )

    def body(self) -> Json:
        """Return it whole."""
        choice: Json = {
            "index": 0,
            "message": self._message(),
            "logprobs": self._logprobs(tokenize(self._reply.text)),
            "finish_reason": self._finish_reason(),
        }
        return self._envelope("chat.completion") | {"choices": [choice], "usage": _usage(self.usage)}

    def error_event(self) -> Json:
        """Return the event of a failure in the middle of the stream."""
        message = "The sandbox was asked to fail here."
        return {"error": {"message": message, "type": "server_error", "param": None, "code": None}}

    def encode(self, event: Json) -> bytes:
        """Write an event as server-sent event."""
        return f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()

    def terminator(self) -> bytes:
        """Write what ends a stream."""
        return b"data: [DONE]\n\n"

    def _envelope(self, kind: str) -> Json:
        return {
            "id": self.id,
            "object": kind,
            "created": self._created,
            "model": self._model,
            "service_tier": "default",
            "system_fingerprint": "fp_sandbox",
        }

    def _delta(
        self, delta: Json, token: str = "", *, is_text: bool = False, finish: str | None = None
    ) -> StreamEvent:
        logprobs = self._logprobs([token] if is_text else [])
        choice: Json = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        usage: Json = {"usage": None} if self._wants_usage else {}
        return StreamEvent(
            self._envelope("chat.completion.chunk") | {"choices": [choice]} | usage, token, is_text
        )

    def _logprobs(self, tokens: Iterable[str]) -> Json | None:
        content = logprobs_of(tokens, self._top_logprobs)
        return {"content": content, "refusal": None} if content else None

    def _call(self, index: int, call_id: str, name: str, arguments: str) -> Iterator[StreamEvent]:
        first: Json = {
            "index": index,
            "id": call_id,
            "type": "function",
            "function": {"name": name, "arguments": ""},
        }
        yield self._delta({"tool_calls": [first]})
        for token in tokenize(arguments):
            yield self._delta({"tool_calls": [{"index": index, "function": {"arguments": token}}]}, token)

    def _message(self) -> Json:
        message: Json = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
        if self._reply.reasoning:
            message["reasoning_content"] = self._reply.reasoning
        if self._calls:
            message["tool_calls"] = [
                {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
                for call_id, name, arguments in self._calls
            ]
        else:
            message[self._text_field] = self._reply.text
        return message

    def _finish_reason(self) -> Literal["tool_calls", "length", "stop"]:
        if self._calls:
            return "tool_calls"
        return "length" if self._reply.is_cut else "stop"


def _usage(usage: Usage) -> Json:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0},
    }

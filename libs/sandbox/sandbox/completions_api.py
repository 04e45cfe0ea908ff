"""The older completions (https://platform.openai.com/docs/api-reference/completions)."""

import json
import time
from collections.abc import Iterator
from uuid import uuid4

from pydantic import BaseModel, Field

from sandbox.embeddings import texts_of
from sandbox.messages import Json, Message, ModelRequest, Reply
from sandbox.streaming import StreamEvent
from sandbox.tokens import Usage, tokenize


class _StreamOptions(BaseModel):
    include_usage: bool = False


class CompletionRequest(BaseModel):
    """The body of POST /v1/completions."""

    model: str
    prompt: str | list[str] | list[int] | list[list[int]] = ""
    max_tokens: int | None = Field(default=16, ge=1)
    n: int = Field(default=1, ge=1, le=128)
    echo: bool = False
    logprobs: int | None = Field(default=None, ge=0, le=5)
    stream: bool | None = None
    stream_options: _StreamOptions | None = None

    @property
    def prompts(self) -> list[str]:
        """The prompts; tokens stand for themselves."""
        return texts_of(self.prompt)

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def to_model_request(self) -> ModelRequest:
        """Translate it for the model, which answers the last prompt."""
        message = Message("user", self.prompts[-1])
        return ModelRequest(self.model, "", (message,), max_tokens=self.max_tokens)


class Completion:
    """A reply as a completion: each prompt has the same one, `n` times."""

    def __init__(self, request: CompletionRequest, reply: Reply, usage: Usage) -> None:
        self.id = f"cmpl-{uuid4().hex}"
        self._count = len(request.prompts) * request.n
        self.usage = Usage(usage.input, 0, usage.output * self._count, 0)
        self._request = request
        self._reply = reply
        self._created = int(time.time())

    def events(self) -> Iterator[StreamEvent]:
        """Yield it as a stream of events."""
        for index in range(self._count):
            for token in tokenize(self._reply.text):
                yield StreamEvent(self._envelope([self._choice(index, token, None)]), token, is_text=True)
            yield StreamEvent(self._envelope([self._choice(index, "", self._finish_reason())]))
        if self._request.wants_usage:
            yield StreamEvent(self._envelope([]) | {"usage": self._usage()})

    def body(self) -> Json:
        """Return it whole."""
        text = f"{self._request.prompts[-1]}{self._reply.text}" if self._request.echo else self._reply.text
        choices = [self._choice(index, text, self._finish_reason()) for index in range(self._count)]
        return self._envelope(choices) | {"usage": self._usage()}

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

    def _envelope(self, choices: list[Json]) -> Json:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self._created,
            "model": self._request.model,
            "choices": [*choices],
        }

    def _choice(self, index: int, text: str, finish_reason: str | None) -> Json:
        logprobs: Json | None = None
        if self._request.logprobs is not None:
            tokens = tokenize(text)
            logprobs = {
                "tokens": [*tokens],
                "token_logprobs": [-0.5] * len(tokens),
                "top_logprobs": [{token: -0.5} for token in tokens],
                "text_offset": [sum(map(len, tokens[:place])) for place in range(len(tokens))],
            }
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}

    def _finish_reason(self) -> str:
        return "length" if self._reply.is_cut else "stop"

    def _usage(self) -> Json:
        return {
            "prompt_tokens": self.usage.input,
            "completion_tokens": self.usage.output,
            "total_tokens": self.usage.total,
        }

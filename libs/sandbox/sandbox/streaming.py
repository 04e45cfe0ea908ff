"""How an answer reaches the client: token by token in its time, and cut off where that is asked for."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from sandbox.directives import Directives
from sandbox.messages import INVALID_UTF8, Json
from sandbox.tokens import Usage

INVALID_BYTES = b"\xff\xfe"
# Of a kind that clients do not know yet.
UNKNOWN_EVENT: Json = {"type": "event.of_later", "content": {"of": "later"}}
STALL_SECONDS = 3600.0
PAUSE_SECONDS = 0.02


class StreamEvent(NamedTuple):
    """An event of a stream, and the token it carries, if it does."""

    event: Json
    token: str = ""
    is_text: bool = False


class ModelResponse(Protocol):
    """A reply on its wire."""

    id: str
    usage: Usage

    def events(self) -> Iterator[StreamEvent]:
        """Yield it as a stream of events."""
        ...

    def body(self) -> Json:
        """Return it whole."""
        ...

    def error_event(self) -> Json:
        """Return the event of a failure in the middle of the stream."""
        ...

    def encode(self, event: Json) -> bytes:
        """Write an event as server-sent event."""
        ...

    def terminator(self) -> bytes:
        """Write what ends a stream."""
        ...


Status = Literal["streaming", "completed", "failed", "dropped", "disconnected"]


@dataclass
class CallRecord:
    """What is remembered of a call for those who want to compare sums."""

    id: str
    path: str
    model: str
    attempt: int
    usage: Usage
    question: str
    # What was sent beside the model, the conversation and the tools.
    parameters: Json = field(default_factory=dict)
    started_at: float = field(default_factory=time.time)
    status: Status = "streaming"
    tokens_sent: int = 0
    text: str = ""
    is_paused: bool = False

    def count_token(self, step: StreamEvent) -> None:
        """Count a token that is on its way."""
        self.tokens_sent += 1
        self.text += step.token if step.is_text else ""

    async def pause(self) -> None:
        """Wait until somebody resumes it."""
        self.is_paused = True
        while self.is_paused:  # noqa: ASYNC110  # a record can be copied, an Event cannot
            await asyncio.sleep(PAUSE_SECONDS)


class ConnectionDropped(Exception):
    """The connection is to be dropped here."""


class ModelFailed(Exception):
    """The model is to fail here."""


class ResponseStream:
    """One answer on its way to one client."""

    def __init__(
        self, response: ModelResponse, call: CallRecord, directives: Directives, tokens_per_second: float
    ) -> None:
        self._response = response
        self._call = call
        self._directives = directives
        self._rate = tokens_per_second if directives.rate is None else directives.rate
        self._started = 0.0

    async def stream(self) -> AsyncIterator[bytes]:
        """Send the events one by one; raises Dropped where the connection is to end."""
        try:
            if self._directives.unknown_event:
                yield self._response.encode(UNKNOWN_EVENT)
            async for step in self._events():
                yield self._response.encode(step.event).replace(INVALID_UTF8.encode(), INVALID_BYTES)
            yield self._response.terminator()
            self._call.status = "completed"
        except ModelFailed:
            self._call.status = "failed"
            yield self._response.encode(self._response.error_event())
        except ConnectionDropped:
            self._call.status = "dropped"
            raise
        finally:
            if self._call.status == "streaming":
                self._call.status = "disconnected"

    async def respond(self) -> Response:
        """Wait until all is said and answer at once."""
        try:
            async for _ in self._events():
                pass
        except ModelFailed:
            self._call.status = "failed"
            raise
        except ConnectionDropped:
            self._call.status = "dropped"
            return TruncatedResponse(json.dumps(self._response.body()))
        self._call.status = "completed"
        return JSONResponse(self._response.body())

    async def _events(self) -> AsyncIterator[StreamEvent]:
        for step in self._response.events():
            if step.token:
                await self._pace()
                self._call.count_token(step)
            yield step

    async def _pace(self) -> None:
        sent = self._call.tokens_sent
        if sent == 0:
            await asyncio.sleep(self._directives.delay)
            self._started = time.monotonic()
        if sent == self._directives.die_after:
            raise ConnectionDropped
        if sent == self._directives.fail_after:
            raise ModelFailed
        if sent == self._directives.stall_after:
            await asyncio.sleep(STALL_SECONDS)
        if sent == self._directives.pause_after:
            await self._call.pause()
        if self._rate and (delay := self._started + sent / self._rate - time.monotonic()) > 0:
            await asyncio.sleep(delay)


class EventStream(StreamingResponse):
    """Server-sent events whose connection can be dropped."""

    media_type = "text/event-stream"

    async def stream_response(self, send: Send) -> None:
        """Send the body; without its end the server closes the connection in the middle."""
        try:
            await super().stream_response(send)
        except ConnectionDropped:
            return


class TruncatedResponse(Response):
    """An answer of which only the first half arrives before the connection is dropped."""

    media_type = "application/json"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Promise the whole length and send the first half."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        body = bytes(self.body)
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})

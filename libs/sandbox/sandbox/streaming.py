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
from sandbox.messages import UNSAYABLE, Json
from sandbox.tokens import Usage

NO_TEXT = b"\xff\xfe"
STALL_SECONDS = 3600.0


class Step(NamedTuple):
    """An event of a stream, and the token it carries, if it does."""

    event: Json
    token: str = ""
    is_text: bool = False


class Answer(Protocol):
    """A reply on its wire."""

    id: str
    usage: Usage

    def steps(self) -> Iterator[Step]:
        """Tell it as a stream of events."""
        ...

    def whole(self) -> Json:
        """Tell it at once."""
        ...

    def failure(self) -> Json:
        """Tell of a failure in the middle of the stream."""
        ...

    def frame(self, event: Json) -> bytes:
        """Write an event as server-sent event."""
        ...

    def closing(self) -> bytes:
        """Write what ends a stream."""
        ...


Status = Literal["streaming", "completed", "failed", "dropped", "disconnected"]


@dataclass
class Call:
    """What is remembered of a call for those who want to compare sums."""

    id: str
    path: str
    model: str
    attempt: int
    usage: Usage
    question: str
    at: float = field(default_factory=time.time)
    status: Status = "streaming"
    tokens_sent: int = 0
    text: str = ""

    def note(self, step: Step) -> None:
        """Count a token that is on its way."""
        self.tokens_sent += 1
        self.text += step.token if step.is_text else ""


class Dropped(Exception):
    """The connection is to be dropped here."""


class Failed(Exception):
    """The model is to fail here."""


class Delivery:
    """One answer on its way to one client."""

    def __init__(self, answer: Answer, call: Call, directives: Directives, tokens_per_second: float) -> None:
        self._answer = answer
        self._call = call
        self._directives = directives
        self._rate = tokens_per_second if directives.rate is None else directives.rate
        self._started = 0.0

    async def streamed(self) -> AsyncIterator[bytes]:
        """Send the events one by one; raises Dropped where the connection is to end."""
        try:
            async for step in self._steps():
                yield self._answer.frame(step.event).replace(UNSAYABLE.encode(), NO_TEXT)
            yield self._answer.closing()
            self._call.status = "completed"
        except Failed:
            self._call.status = "failed"
            yield self._answer.frame(self._answer.failure())
        except Dropped:
            self._call.status = "dropped"
            raise
        finally:
            if self._call.status == "streaming":
                self._call.status = "disconnected"

    async def whole(self) -> Response:
        """Wait until all is said and answer at once."""
        try:
            async for _ in self._steps():
                pass
        except Failed:
            self._call.status = "failed"
            raise
        except Dropped:
            self._call.status = "dropped"
            return CutOff(json.dumps(self._answer.whole()))
        self._call.status = "completed"
        return JSONResponse(self._answer.whole())

    async def _steps(self) -> AsyncIterator[Step]:
        for step in self._answer.steps():
            if step.token:
                await self._its_time()
                self._call.note(step)
            yield step

    async def _its_time(self) -> None:
        sent = self._call.tokens_sent
        if sent == 0:
            await asyncio.sleep(self._directives.delay)
            self._started = time.monotonic()
        if sent == self._directives.die_after:
            raise Dropped
        if sent == self._directives.fail_after:
            raise Failed
        if sent == self._directives.stall_after:
            await asyncio.sleep(STALL_SECONDS)
        if self._rate and (early := self._started + sent / self._rate - time.monotonic()) > 0:
            await asyncio.sleep(early)


class EventStream(StreamingResponse):
    """Server-sent events whose connection can be dropped."""

    media_type = "text/event-stream"

    async def stream_response(self, send: Send) -> None:
        """Send the body; without its end the server closes the connection in the middle."""
        try:
            await super().stream_response(send)
        except Dropped:
            return


class CutOff(Response):
    """An answer of which only the first half arrives before the connection is dropped."""

    media_type = "application/json"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Promise the whole length and send the first half."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        body = bytes(self.body)
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})

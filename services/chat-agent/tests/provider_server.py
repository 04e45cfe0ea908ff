"""A provider that sends the bytes it is given, and what a model makes of them."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from agents import Model, ModelSettings
from agents.items import TResponseStreamEvent
from agents.models.interface import ModelTracing
from chat_agent.model.usage import METER, UsageMeter
from openai.types.responses import ResponseCompletedEvent
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

Json = dict[str, Any]
DONE = b"data: [DONE]\n\n"
HI = [{"role": "user", "content": "Hi"}]


class Provider:
    """A server that sends the bytes it is given, and then ends, or waits for ever."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Reset what was set and what was received."""
        self.parts: list[bytes] = []
        # What is sent to the next request, and to those after it, in place of the parts.
        self.following: list[bytes] = []
        self.status = 200
        self.requests = 0
        self.connections: set[Any] = set()
        self.is_endless = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.requests += 1
            self.connections.add(scope["client"])
            await StreamingResponse(self._body(), self.status, media_type="text/event-stream")(
                scope, receive, send
            )

    async def _body(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            yield part
        if self.following:
            self.parts = [self.following.pop(0)]
        if self.is_endless:
            await asyncio.sleep(60)


async def collect(
    model: Model, input: Any = HI, meter: UsageMeter | None = None
) -> list[TResponseStreamEvent]:
    METER.set(meter)
    settings, off = ModelSettings(include_usage=True), ModelTracing.DISABLED
    rest: Any = {"previous_response_id": None, "conversation_id": None, "prompt": None}
    return [event async for event in model.stream_response(None, input, settings, [], None, [], off, **rest)]


def last(events: list[TResponseStreamEvent]) -> ResponseCompletedEvent:
    assert isinstance(events[-1], ResponseCompletedEvent)
    return events[-1]


def text_of(events: list[TResponseStreamEvent]) -> str:
    output: Any = last(events).response.output
    return "".join(part.text for item in output for part in item.content)


def frame(event: Json) -> bytes:
    return f"data: {json.dumps(event)}\n\n".encode()


def chunk(delta: Json, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return frame(
        {
            "id": "c",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [choice],
            **more,
        }
    )


def call(arguments: str = "{}", **fields: Any) -> Json:
    return {"type": "function", "function": {"name": "look", "arguments": arguments}, **fields}

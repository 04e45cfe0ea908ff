"""Server-sent events (WHATWG HTML 9.2) of a tenant's billing."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator

import orjson
from fastapi.responses import StreamingResponse
from servicekit.rate_limits import Grant
from starlette.types import Message, Receive, Scope, Send

from billing_webhook.billing_events.queries import Start
from billing_webhook.billing_events.schemas import BillingEvent

logger = logging.getLogger(__name__)

# X-Accel-Buffering: proxies that are not ours should pass every event on at once, too.
UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
RECONNECT = b"retry: 2000\n"


class EventStream(StreamingResponse):
    """A stream that holds its slot while it is open, and closes when its client does not read."""

    def __init__(self, frames: AsyncGenerator[bytes, None], grant: Grant, write_timeout: float) -> None:
        headers = {**UNBUFFERED, **grant.headers()}
        super().__init__(frames, media_type="text/event-stream", headers=headers)
        self._frames = frames
        self._slot = grant.lease
        self._write_timeout = write_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the end, and release everything."""
        async with self._slot, contextlib.aclosing(self._frames):
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Send events; what a slow client has not read stays in Postgres, and it resumes there."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(self._write_timeout):
                await send(message)

        try:
            await super().stream_response(send_in_time)
        except TimeoutError:
            logger.info("stream closed: its client does not read")


def start_frame(start: Start) -> bytes:
    """Return the beginning of a stream; a `reset` where events are missing that the client has not read."""
    if not start.is_reset:
        return RECONNECT + position(start.seq)
    data = orjson.dumps({"oldest_seq": start.seq + 1})
    return RECONNECT + b"event: reset\ndata: %b\n" % data + position(start.seq)


def event_frame(event: BillingEvent) -> bytes:
    """Return an event."""
    return b"event: %b\ndata: %b\n" % (event.type.encode(), event.model_dump_json().encode()) + position(
        event.seq
    )


def heartbeat_frame(seq: int) -> bytes:
    """Return a sign of life; its id lets a client that filters resume no further back than needed."""
    return b": heartbeat\n" + position(seq)


def comment_frame(text: str) -> bytes:
    """Return a comment, which clients ignore."""
    return b": %b\n" % text.encode()


def position(seq: int) -> bytes:
    """Return the end of a frame: the number of the event after which the client resumes."""
    return b"id: %d\n\n" % seq

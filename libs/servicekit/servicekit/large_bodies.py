"""Routes whose bodies may have more than 1 MiB: read off the event loop, a few at a time.

    router = APIRouter(prefix="/v1", route_class=LargeBodyRoute, max_body_size=8 * 1024 * KIB)

`json` holds the interpreter's lock while it parses a text, also in a thread. So a route that takes more than
some MiB puts content aside (`LargeRequest.reduce`) before the rest is parsed.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import ContextVar
from secrets import token_hex
from typing import Any, ClassVar, Literal

from fastapi import Request, Response
from fastapi.routing import APIRoute

from servicekit.errors import TooManyRequests
from servicekit.request_limits import LARGE_BODY, check_json

MAX_AT_ONCE = 4
# So many more wait, each with 1 MiB that was read of it.
MAX_WAITING = 32
ReadableBuffer = bytes | memoryview
READ_SECONDS = 30.0


class LargeBodyCapacityExceeded(TooManyRequests):
    """Too many large bodies are read at the same time, or this one comes too slowly."""

    default_detail = "Too many large requests are being read, or this one came too slowly. Try again shortly."


class BodySlots(asyncio.Semaphore):
    """The large bodies that a process holds at a time, and those that wait."""

    def __init__(self) -> None:
        super().__init__(MAX_AT_ONCE)
        self._waiting = 0

    async def acquire(self) -> Literal[True]:
        """Wait for a place, unless too many wait; raises LargeBodyCapacityExceeded."""
        if self.locked() and self._waiting >= MAX_WAITING:
            raise LargeBodyCapacityExceeded(retry_after=1)
        self._waiting += 1
        try:
            return await super().acquire()
        finally:
            self._waiting -= 1


class Slot:
    """The right to hold one large body, of the few that a process holds at a time."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots
        self._is_taken = False
        # Unguessable, so that no text that somebody sends stands for content.
        self._prefix = f"content-{token_hex(16)}-"
        self._content: dict[str, ReadableBuffer] = {}

    async def take(self) -> None:
        """Wait for a slot, unless it is taken."""
        if not self._is_taken:
            await self._slots.acquire()
            self._is_taken = True

    def put_aside(self, content: ReadableBuffer) -> str:
        """Store content that is not parsed, and return the text that stands for it."""
        name = f"{self._prefix}{len(self._content)}"
        self._content[name] = content
        return name

    def get(self, name: str) -> ReadableBuffer | None:
        """Return the content for which a text stands, if it does."""
        return self._content.get(name)

    def is_named_in(self, text: str) -> bool:
        """Return whether a text stands for content, or contains one that does."""
        return bool(self._content) and self._prefix in text

    def release(self) -> None:
        """Release the slot, if it is taken, and the content."""
        self._content.clear()
        if self._is_taken:
            self._slots.release()
            self._is_taken = False


_slot: ContextVar[Slot | None] = ContextVar("slot", default=None)


def release() -> None:
    """Admit the next large body, before this request ends: the content of this one is stored."""
    if slot := _slot.get():
        slot.release()


def put_aside(content: ReadableBuffer) -> str:
    """Store content of the current request that is not parsed, and return the text that stands for it."""
    slot = _slot.get()
    assert slot is not None  # noqa: S101  # every LargeBodyRoute has one
    return slot.put_aside(content)


def content_of(name: str) -> ReadableBuffer | None:
    """Return the content of the current request for which a text stands, if it does."""
    slot = _slot.get()
    return slot.get(name) if slot else None


def stands_for_content(text: str) -> bool:
    """Return whether a text stands for content of the current request, or contains one that does."""
    slot = _slot.get()
    return slot is not None and slot.is_named_in(text)


class LargeRequest(Request):
    """A request whose body is checked and parsed in a thread when it is large."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the parts of the body, once there is room for a large one.

        Raises LargeBodyCapacityExceeded.
        """
        end = asyncio.get_running_loop().time() + READ_SECONDS
        parts, size = super().stream(), 0
        while True:
            try:
                async with asyncio.timeout_at(end):
                    part = await anext(parts, None)
                    size += len(part or b"")
                    if size > LARGE_BODY and (slot := _slot.get()):
                        await slot.take()
            except TimeoutError:
                raise LargeBodyCapacityExceeded(retry_after=1) from None
            if part is None:
                return
            self.check_size(size)
            yield part

    async def body(self) -> bytes:
        """Return the body, reduced when it is large; raises LargeBodyCapacityExceeded."""
        if not hasattr(self, "_body"):
            self._body = await self._read()
        return self._body

    async def _read(self) -> bytes:
        parts = [part async for part in self.stream()]
        if sum(map(len, parts)) <= LARGE_BODY:
            return b"".join(parts)
        return await asyncio.to_thread(self._reduce_and_check, parts)

    def _reduce_and_check(self, parts: list[bytes]) -> bytes:
        whole = b"".join(parts)
        parts.clear()
        body = self.reduce(whole)
        check_json(body)
        return body

    def check_size(self, size: int) -> None:
        """Raise PayloadTooLarge for more bytes than are read, where the route's limit does not say so."""

    def reduce(self, body: bytes) -> bytes:
        """Return what is to be parsed of a large body."""
        return body

    async def json(self) -> Any:
        """Return the parsed body."""
        if not hasattr(self, "_json"):
            body = await self.body()
            is_large = len(body) > LARGE_BODY
            self._json = await asyncio.to_thread(json.loads, body) if is_large else json.loads(body)
        return self._json


class LargeBodyRoute(APIRoute):
    """A route whose body may have more than 1 MiB."""

    request_class: ClassVar[type[LargeRequest]] = LargeRequest

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the route's handler, which holds a slot while it holds a large body."""
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            slot = Slot(request.app.state.resources.large_bodies)
            token = _slot.set(slot)
            try:
                return await answer(self.request_class(request.scope, request.receive))
            finally:
                slot.release()
                _slot.reset(token)

        return handle

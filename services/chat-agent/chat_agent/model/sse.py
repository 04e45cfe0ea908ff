"""The stream of a model: from bytes to events, whatever the bytes are."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator

import aiohttp

from chat_agent.model.json import InvalidModelResponse, Json, parse_piece

# An answer is not this long, and nothing that never ends may fill the memory.
MAX_EVENT = 8 * 1024 * 1024
# After the last event the connection is read to its end, so that it can be used again; not for ever.
DRAIN_SECONDS = 0.1
DONE = b"[DONE]"
# What some servers send to keep a connection open.
NOTHING = {b"", b"null"}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
TERMINAL = {"response.completed", "response.failed", "response.incomplete", "error"}


class StreamInterrupted(Exception):
    """The stream ended without saying that it was its end."""


def has_finish_reason(event: Json) -> bool:
    """Return whether a chunk is the last of a chat completion: not every server says so after it as well."""
    choices = event.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return isinstance(first, dict) and bool(first.get("finish_reason"))


async def read_events(
    chunks: AsyncIterator[bytes],
    terminal: Collection[str] = TERMINAL,
    is_last: Callable[[Json], bool] = has_finish_reason,
) -> AsyncGenerator[Json, None]:
    """Yield the objects of a stream; raises InvalidModelResponse, and StreamInterrupted without an end.

    It ends with an event of a terminal type, with `[DONE]`, or with its connection after the last event.
    """
    decoder, is_finished = Decoder(), False
    async for chunk in chunks:
        for data in decoder.feed(chunk):
            if data == DONE:
                await drain(chunks)
                return
            event = parse_piece(data)
            if event.get("type") in terminal:
                await drain(chunks)
                yield event
                return
            is_finished = is_finished or is_last(event)
            yield event
    if not is_finished:
        raise StreamInterrupted


class Decoder:
    """Finds the data of server-sent events; their other fields say nothing that the data does not."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._has_begun = self._is_after_cr = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Return the data of each event that has come to its end; events that have none are left out."""
        *lines, self._rest = (self._rest + self._with_newlines(chunk)).split(b"\n")
        for line in lines:
            if not self._has_begun:
                self._has_begun, line = True, line.removeprefix(BYTE_ORDER_MARK)  # noqa: PLW2901
            if line.startswith(b"data:"):
                self._data.append(line[5:].strip())
            elif not line and self._data:
                if (data := b"\n".join(self._data)) not in NOTHING:
                    yield data
                self._data.clear()
        if len(self._rest) + sum(map(len, self._data)) > MAX_EVENT:
            raise InvalidModelResponse("an event without an end")

    def _with_newlines(self, chunk: bytes) -> bytes:
        """Return a chunk whose lines end in LF, as they may also end in CR, or CR and LF."""
        if self._is_after_cr:
            self._is_after_cr = not chunk
            chunk = chunk.removeprefix(b"\n")
        if b"\r" not in chunk:
            return chunk
        self._is_after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


async def drain(chunks: AsyncIterator[bytes]) -> None:
    """Read what may come after the last event."""
    with contextlib.suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in chunks:
                pass

"""The stream of a model: from bytes to JSON objects, whatever the bytes are."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

import aiohttp
import orjson

Json = dict[str, Any]  # what the SDK's classes are made from, and they are not typed by JsonValue

# An answer is not this long, and nothing that never ends may fill the memory.
MAX_EVENT = 8 * 1024 * 1024
# After the last event the connection is read to its end, so that it can be used again; not for ever.
DRAIN_SECONDS = 0.1
DONE = b"[DONE]"
TERMINAL = {"response.completed", "response.failed", "response.incomplete", "error"}
SURROGATE = re.compile("[\ud800-\udfff]")


class UnreadableAnswer(ValueError):
    """What came is not what the protocol says."""


class BrokenOff(Exception):
    """The stream ended without saying that it was its end."""


async def read_events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Json, None]:
    """Give the objects of a stream; raises UnreadableAnswer, and BrokenOff when its end is missing."""
    decoder = Decoder()
    async for chunk in chunks:
        for data in decoder.feed(chunk):
            if data == DONE:
                await drain(chunks)
                return
            event = parse(data)
            if event.get("type") in TERMINAL:
                await drain(chunks)
                yield event
                return
            yield event
    raise BrokenOff


class Decoder:
    """Finds the data of server-sent events; their other fields say nothing that the data does not."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Give the data of each event that has come to its end."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:].strip())
            elif line in {b"", b"\r"} and self._data:
                yield b"\n".join(self._data)
                self._data.clear()
        if len(self._rest) + sum(map(len, self._data)) > MAX_EVENT:
            raise UnreadableAnswer("an event without an end")


async def drain(chunks: AsyncIterator[bytes]) -> None:
    """Read what may come after the last event."""
    with contextlib.suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in chunks:
                pass


def parse(data: bytes) -> Json:
    """Read one JSON object; bytes and halves of surrogate pairs that are no text are replaced."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = parse_leniently(data)
    if not isinstance(value, dict):
        raise UnreadableAnswer("not a JSON object")
    return value


def parse_leniently(data: bytes) -> Any:
    """Read JSON that is not quite UTF-8."""
    try:
        value = json.loads(data.decode(errors="replace"))
    except ValueError as error:
        raise UnreadableAnswer("not JSON") from error
    return without_surrogates(value)


def without_surrogates(value: Any) -> Any:
    """Replace what could be neither stored nor sent on."""
    if isinstance(value, str):
        return SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [without_surrogates(each) for each in value]
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(each) for key, each in value.items()}
    return value

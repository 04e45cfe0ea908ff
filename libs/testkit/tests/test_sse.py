"""Every reader of event streams ends a line where the standard does: not within a text."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import orjson
import pytest
from acme_client import sse, synchronous
from starter_cli.events import read, read_async
from testkit.sse import documents, events

# What ends a line for `str.splitlines`, and not in an event stream.
ODD = {f"U+{ord(letter):04X}": letter for letter in "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"}
HEADERS = {"Content-Type": "text/event-stream; charset=utf-8"}


async def stream(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def by_starter_cli(body: bytes) -> list[Any]:
    response = httpx.Response(200, headers=HEADERS, content=stream(body))
    return [event.data async for event in read_async(response)]


async def by_client(body: bytes) -> list[Any]:
    return [{"delta": event["delta"]} async for event in sse.read_events(stream(body))]


READERS: dict[str, Callable[[bytes], Any]] = {
    "testkit": lambda body: [event.data for event in events(response(body))],
    "testkit, any protocol": lambda body: documents(response(body)),
    "starter-cli": lambda body: [event.data for event in read(response(body))],
    "starter-cli, asynchronous": by_starter_cli,
    "client-python": by_client,
    "client-python, synchronous": lambda body: [
        {"delta": event["delta"]} for event in synchronous.sse.read_events(iter([body]))
    ],
}


def response(body: bytes) -> httpx.Response:
    return httpx.Response(200, headers=HEADERS, content=halves(body))


def halves(body: bytes) -> Iterator[bytes]:
    yield body[: len(body) // 2]
    yield body[len(body) // 2 :]


@pytest.mark.parametrize("letter", ODD.values(), ids=ODD)
@pytest.mark.parametrize("reader", READERS)
async def test_no_line_ends_within_a_text(reader: str, letter: str) -> None:
    sent = [{"delta": f"a{letter}b"}, {"delta": letter}]
    # It writes letters as they are where JSON allows that.
    frames = [b"id: 1\nevent: message.delta\ndata: %b\n\n" % orjson.dumps(one) for one in sent]
    received = READERS[reader](b"".join(frames))
    assert (received if isinstance(received, list) else await received) == sent

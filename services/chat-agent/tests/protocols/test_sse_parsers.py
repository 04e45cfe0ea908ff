"""Every frame of every protocol, read by the parsers that people use: no event is lost or made up."""

import base64
from collections.abc import Callable, Iterator, Sequence

import httpx
import httpx_sse
import pytest
import sseclient
from chat_agent.execution.subscribe import KEEP_ALIVE, TOKEN_EXPIRED_COMMENT
from openai._streaming import SSEDecoder
from servicekit.middleware import RECONNECT
from testkit import node_scripts

from .run_scripts import ENCODERS, END, FAILED, STARTED, Script, complete_run, events, whole_item

# What splits lines in Python's text, and nowhere else.
UNUSUAL = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei\r\n\n: h\ndata: i \U0001f600 \ufeff"
SCRIPTS: dict[str, Script] = {
    "complete": complete_run(),
    "failed": [STARTED, *whole_item("item_1", "Hel", "lo"), FAILED],
    "unusual": [
        STARTED,
        *whole_item("item_1", UNUSUAL, "", "\r"),
        ("run.completed", {**END, "output": UNUSUAL}),
    ],
}
# Of an event: its type, its data and its id.
Event = tuple[str, str, str]
Parser = Callable[[Sequence[bytes]], list[Event]]


def by_httpx_sse(chunks: Sequence[bytes]) -> list[Event]:
    response = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=iter(chunks))
    return [(one.event, one.data, one.id) for one in httpx_sse.EventSource(response).iter_sse()]


def by_openai(chunks: Sequence[bytes]) -> list[Event]:
    return [(one.event or "", one.data, one.id or "") for one in SSEDecoder().iter_bytes(iter(chunks))]


def by_sseclient(chunks: Sequence[bytes]) -> list[Event]:
    return [(one.event, one.data, one.id or "") for one in sseclient.SSEClient(iter(chunks)).events()]


def by_eventsource_parser(chunks: Sequence[bytes]) -> list[Event]:
    (read,) = node_scripts.parse_streams([[base64.b64encode(chunk).decode() for chunk in chunks]])
    return [(type, data, id) for type, data, id in read]


PARSERS: dict[str, Parser] = {"httpx-sse": by_httpx_sse, "openai": by_openai, "sseclient-py": by_sseclient}
if node_scripts.IS_AVAILABLE:
    PARSERS["eventsource-parser"] = by_eventsource_parser


def frames_of(protocol: str, script: Script) -> Iterator[bytes]:
    """Yield what is sent at once, in our own protocol or another."""
    if protocol == "own":
        yield from (event.frame for event in events(script))
        return
    encoder = ENCODERS[protocol]()
    yield from (encoder.encode(event) for event in events(script))


def expected(frames: bytes) -> list[Event]:
    """Read the events by the letter of the standard, as they are written here: fields, then a blank line."""
    read = []
    id = ""
    for block in frames.decode().split("\n\n")[:-1]:
        fields = [line.partition(": ") for line in block.split("\n") if not line.startswith(":")]
        assert {name for name, _, _ in fields} <= {"event", "data", "id"}, block
        values = {name: value for name, _, value in fields}
        id = values.get("id", id)
        read.append((values.get("event", ""), values["data"], id))
    return read


def chunked(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def same(one: Event) -> Event:
    """Write an event with the type that it has by default in every parser."""
    return ("" if one[0] == "message" else one[0], one[1], one[2])


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("protocol", ["own", *ENCODERS])
@pytest.mark.parametrize("parser", PARSERS)
def test_every_frame_is_read_as_it_was_meant(parser: str, protocol: str, script: str) -> None:
    frames = [frame for frame in frames_of(protocol, SCRIPTS[script]) if frame]
    # Between all of them it takes so long that a sign of life is sent.
    alive = [part for frame in frames for part in (KEEP_ALIVE, frame, KEEP_ALIVE, KEEP_ALIVE)]
    whole = b"".join([*alive, TOKEN_EXPIRED_COMMENT, RECONNECT])
    meant = expected(b"".join(frames))
    assert meant
    for chunks in ([*alive, TOKEN_EXPIRED_COMMENT, RECONNECT], chunked(whole, 7), [whole]):
        assert [same(one) for one in PARSERS[parser](chunks)] == meant


@pytest.mark.parametrize("parser", PARSERS)
def test_an_outage_is_no_event(parser: str) -> None:
    assert PARSERS[parser]([RECONNECT]) == []

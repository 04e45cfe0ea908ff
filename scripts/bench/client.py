"""A client that costs next to nothing: it notes what came when, and all reading is done afterwards."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

END_OF_CHUNKS = b"\r\n0\r\n\r\n"


@dataclass
class Exchange:
    """One answer as it came in: when it was asked for, and every read with its time."""

    sent_at: float = 0.0
    reads: list[tuple[float, bytes]] = field(default_factory=list)
    error: str = ""

    @property
    def ended(self) -> float:
        """When the last of it came."""
        return self.reads[-1][0] if self.reads else self.sent_at


@dataclass(frozen=True)
class Request:
    """What to send where."""

    url: str
    body: bytes
    content_type: str = "application/json"
    headers: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """Write it as HTTP/1.1."""
        address = urlsplit(self.url)
        lines = [
            f"POST {address.path} HTTP/1.1",
            f"Host: {address.netloc}",
            "Connection: close",
            "Accept: text/event-stream",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            *self.headers,
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


class ExchangeProtocol(asyncio.Protocol):
    """Sends a request and notes the answer until it ends."""

    def __init__(self, request: bytes) -> None:
        self.exchange = Exchange()
        self.done = asyncio.get_running_loop().create_future()
        self._request = request
        self._tail = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is TCP
        """Send the request."""
        self._transport = transport
        self.exchange.sent_at = time.monotonic()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Note what came; the end of the chunks is the end."""
        self.exchange.reads.append((time.monotonic(), data))
        self._tail = (self._tail + data[-len(END_OF_CHUNKS) :])[-len(END_OF_CHUNKS) :]
        if self._tail == END_OF_CHUNKS:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Note that it is over."""
        self.exchange.error = type(error).__name__ if error else ""
        if not self.done.done():
            self.done.set_result(None)


async def send(request: Request, seconds: float) -> Exchange:
    """Send a request and read the response to its end, or for so long."""
    address = urlsplit(request.url)
    loop = asyncio.get_running_loop()
    try:
        transport, listener = await loop.create_connection(
            lambda: ExchangeProtocol(request.encode()), address.hostname or "", address.port or 80
        )
    except OSError as error:
        return Exchange(time.monotonic(), error=type(error).__name__)
    try:
        async with asyncio.timeout(seconds):
            await listener.done
    except TimeoutError:
        transport.abort()
        listener.exchange.error = f"no end within {seconds:g} s"
    return listener.exchange


@dataclass(frozen=True)
class Event:
    """One server-sent event, and when the last byte of it came."""

    at: float
    type: str
    data: bytes


def status(exchange: Exchange) -> int:
    """Read the status of an answer; 0 when there is none."""
    first = b"".join(data for _, data in exchange.reads[:20]).split(b"\r\n", 1)[0].split()
    return int(first[1]) if len(first) > 1 and first[1].isdigit() else 0


def events(exchange: Exchange) -> Iterator[Event]:
    """Read the events of an answer in chunks."""
    remainder = b""
    for at, data in chunks(exchange):
        *blocks, remainder = (remainder + data).replace(b"\r\n", b"\n").split(b"\n\n")
        for block in blocks:
            fields = dict(line.partition(b": ")[::2] for line in block.split(b"\n"))
            if b"data" in fields:
                yield Event(at, fields.get(b"event", b"message").decode(), fields[b"data"])


def chunks(exchange: Exchange) -> Iterator[tuple[float, bytes]]:
    """Read the chunks of an answer (RFC 9112, 7.1), each with the time at which it was whole."""
    buffer, in_head = b"", True
    for at, data in exchange.reads:
        buffer += data
        if in_head:
            _head, found, rest = buffer.partition(b"\r\n\r\n")
            if not found:
                continue
            buffer, in_head = rest, False
        while True:
            size, found, rest = buffer.partition(b"\r\n")
            length = int(size.split(b";")[0], 16) if found else 0
            if not length or len(rest) < length + 2:
                break
            yield at, rest[:length]
            buffer = rest[length + 2 :]

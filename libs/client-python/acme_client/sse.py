"""Server-sent events (WHATWG HTML 9.2), as bytes arrive."""

import json
import re
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from acme_client.events import RunEvent

# Nothing else ends a line; a carriage return at the end may be the first half of a line break.
LINE_BREAK = re.compile(rb"\r\n|\n|\r(?!\Z)")


async def read_lines(chunks: AsyncIterable[bytes]) -> AsyncIterator[str]:
    """Yield the complete lines of a stream."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = LINE_BREAK.split(rest + chunk)
        for line in lines:
            yield line.decode(errors="replace")


async def read_events(chunks: AsyncIterable[bytes]) -> AsyncIterator[RunEvent]:
    """Yield the events of a stream; comments, which keep it open, are left out."""
    event, data = "", list[str]()
    async for line in read_lines(chunks):
        name, _, value = line.partition(":")
        if name == "event":
            event = value.removeprefix(" ")
        elif name == "data":
            data.append(value.removeprefix(" "))
        elif not line:
            if data:
                received: Any = json.loads("\n".join(data))
                received["type"] = event
                yield received
            event, data = "", []

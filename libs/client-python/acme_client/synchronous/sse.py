# Written from acme_client/sse.py by scripts/synchronous_client.py: change it there.
"""Server-sent events (WHATWG HTML 9.2), as bytes arrive."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from acme_client.events import RunEvent

# Nothing else ends a line; a carriage return at the end may be the first half of a line break.
LINE_BREAK = re.compile(rb"\r\n|\n|\r(?!\Z)")


def read_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the complete lines of a stream."""
    rest = b""
    for chunk in chunks:
        *lines, rest = LINE_BREAK.split(rest + chunk)
        for line in lines:
            yield line.decode(errors="replace")


def read_events(chunks: Iterable[bytes]) -> Iterator[RunEvent]:
    """Yield the events of a stream; comments, which keep it open, are left out."""
    event, data = "", list[str]()
    for line in read_lines(chunks):
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

"""Server-sent events of a run, as a client reads them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
from httpx_sse import EventSource


@dataclass(frozen=True)
class Event:
    """One event: its id (0 where it has none), its type, and its JSON."""

    id: int
    type: str
    data: dict[str, Any]


def events(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events of a stream's lines (`response.iter_lines()`) as they come; comments are left out."""
    content = (f"{line}\n".encode() for line in lines)
    response = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=content)
    for event in EventSource(response).iter_sse():
        if event.data:
            yield Event(int(event.id or 0), event.event, event.json())

"""Server-sent events of a run, as a client reads them."""

from collections.abc import Iterator
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


def events(response: httpx.Response) -> Iterator[Event]:
    """Yield the events of a response as they come; comments are left out.

    Of httpx, `iter_lines` is for other texts: in an event stream U+2028 and its like end no line.
    """
    for event in EventSource(response).iter_sse():
        if event.data:
            yield Event(int(event.id or 0), event.event, event.json())


def documents(response: httpx.Response) -> list[Any]:
    """Return the JSON of a response, or of each event of a stream, whatever its protocol."""
    if not response.headers["content-type"].startswith("text/event-stream"):
        return [response.json()]
    sent = EventSource(response).iter_sse()
    return [event.json() for event in sent if event.data.startswith("{")]

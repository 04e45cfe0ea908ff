"""The events of a run, as a client of the gateway gets them (text/event-stream)."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Self

import httpx
from httpx_sse import EventSource, ServerSentEvent

TERMINAL = frozenset({"run.completed", "run.failed", "run.cancelled", "run.waiting"})


@dataclass(frozen=True)
class RunEvent:
    """One event of a run."""

    id: str
    type: str
    data: dict[str, Any]

    @classmethod
    def from_sse(cls, event: ServerSentEvent) -> Self:
        """Parse a server-sent event."""
        return cls(event.id, event.event, event.json())


def read(response: httpx.Response) -> Iterator[RunEvent]:
    """Yield each event as soon as its last line is there; a comment, which has no data, is none."""
    return (RunEvent.from_sse(event) for event in EventSource(response).iter_sse() if event.data)


async def read_async(response: httpx.Response) -> AsyncIterator[RunEvent]:
    """Yield each event of an asynchronous client's response."""
    async for event in EventSource(response).aiter_sse():
        if event.data:
            yield RunEvent.from_sse(event)

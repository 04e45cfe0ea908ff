"""A client of the billing stream, and events to publish."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import UUID

import httpx
from billing_webhook.billing_events.publish import publish
from billing_webhook.events import TenantEvent
from servicekit.database import Database

STREAM = "/api/v1/billing/stream"


class Noted(TenantEvent):
    """An event of these tests."""

    type: ClassVar[str] = "billing.test.noted.v1"

    text: str


class Counted(TenantEvent):
    """Another one."""

    type: ClassVar[str] = "billing.test.counted.v1"

    number: int


@dataclass
class Frame:
    """What stands between two empty lines, or before the end."""

    id: int | None = None
    event: str | None = None
    data: Any = None
    retry: int | None = None
    comments: list[str] = field(default_factory=list)


async def lines_of(answer: httpx.Response) -> AsyncIterator[str]:
    """Yield the lines of an open stream; of httpx, `aiter_lines` also splits within texts."""
    rest = ""
    async for text in answer.aiter_text():
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            yield line


async def frames(answer: httpx.Response) -> AsyncIterator[Frame]:
    frame = Frame()
    async for line in lines_of(answer):
        name, _, value = line.partition(": ")
        if not line:
            yield frame
            frame = Frame()
        elif name == "":
            frame.comments.append(value)
        elif name in {"id", "retry"}:
            setattr(frame, name, int(value))
        else:
            setattr(frame, name, json.loads(value) if name == "data" else value)
    if frame.comments:
        yield frame


class Reader:
    """An open stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._frames = frames(answer)

    async def next(self) -> Frame:
        return await anext(self._frames)

    async def event(self) -> Frame:
        while not (frame := await self.next()).event:
            pass
        return frame

    async def events(self, number: int) -> list[Frame]:
        return [await self.event() for _ in range(number)]

    async def rest(self) -> list[Frame]:
        return [frame async for frame in self._frames]


@contextlib.asynccontextmanager
async def reading(client: httpx.AsyncClient, **query: Any) -> AsyncIterator[Reader]:
    async with client.stream("GET", STREAM, params=query) as answer:
        if answer.status_code != 200:
            await answer.aread()
        assert answer.status_code == 200, answer.text
        yield Reader(answer)


async def commit(database: Database, tenant: UUID, *events: TenantEvent) -> int:
    """Publish events, each in a transaction of its own; returns the number of the last."""
    seq = 0
    for event in events:
        async with database.begin() as db:
            seq = await publish(db, event, tenant_id=tenant)
    return seq


def notes(*texts: str) -> list[Noted]:
    return [Noted(text=text) for text in texts]

"""What the worst bodies cost, brought to every route of a service that takes a body.

async with running(create_app(settings)) as app:
    assert [cost async for cost in costs(app, callers_of(issuer, app)) if cost.excess] == []
"""

import asyncio
import contextlib
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from fastapi import FastAPI
from httpx import AsyncClient
from servicekit.auth.permissions import Role, scopes_for
from servicekit.idempotency import HEADER

from testkit.app import client
from testkit.issuer import Issuer
from testkit.token_matrix import TENANT, USER, scopes_inside
from testkit.worst_bodies import FEW_UNKNOWN_MEMBERS, Route, bodies, everywhere

MOST_MILLISECONDS, MOST_MEGABYTES, MOST_ANSWERED = 100, 64, 4096
# What takes too long is tried again: on a busy machine caches are cold, and the same work takes longer.
ATTEMPTS = 3
# In so many milliseconds nobody writes to as much memory as is too much.
MOMENT = 4


@dataclass(frozen=True)
class Callers:
    """The bearers of a person with all rights, and of a service that all internal routes let in."""

    person: str
    service: str

    def client(self, route: Route, **headers: str) -> AsyncClient:
        """Return a client that the route lets in."""
        if route.is_internal:
            headers["Acme-On-Behalf-Of"] = f"{TENANT}/{USER}"
        return client(route.app, self.service if route.is_internal else self.person, **headers)


def callers_of(issuer: Issuer, app: FastAPI) -> Callers:
    """Return callers that a service lets in that is not auth."""
    scope = " ".join(sorted({*scopes_for(Role.OWNER), *scopes_inside(app)}))
    service = issuer.service_token("chat-agent", audience=app.state.resources.name, scope=scope)
    return Callers(issuer.token(tenant_id=TENANT, subject=USER, role="owner"), service)


@dataclass
class Cost:
    """What one request cost: the longest time without a turn of the loop, and memory at its peak."""

    route: str
    body: str
    place: str
    status: int = 0
    answered: int = 0
    milliseconds: float = 0
    megabytes: float = 0
    excess: list[str] = field(default_factory=list)


async def costs(app: FastAPI, callers: Callers) -> AsyncIterator[Cost]:
    """Bring every worst body to every route, and tell what it cost."""
    for route in everywhere(app):
        async for cost in costs_of(route, callers):
            yield cost


async def costs_of(route: Route, callers: Callers) -> AsyncIterator[Cost]:
    """Bring every worst body to one route."""
    headers = {"Content-Type": route.media_type, **({HEADER: "worst"} if route.is_idempotent else {})}
    async with callers.client(route, **headers) as sender:
        # What is made once, as connections are, is not a request's.
        await sent(sender, route, b"")
        for body, place, content in bodies(route):
            cost = Cost(route.name, body, place)
            for _ in range(ATTEMPTS):
                await pay(cost, sender, route, content)
                if not cost.excess:
                    break
            yield cost


async def pay(cost: Cost, sender: AsyncClient, route: Route, content: bytes) -> None:
    """Send a body, and once more to watch memory, which takes time itself; not what was over in a moment."""
    async with timed(cost):
        answer = await sender.request(route.method, route.url, content=content)
    if cost.milliseconds > MOMENT:
        async with weighed(cost):
            await sent(sender, route, content)
    cost.status, cost.answered = answer.status_code, len(answer.content)
    cost.excess = [*excesses(cost)]


def excesses(cost: Cost) -> Iterator[str]:
    """Return what is too much."""
    is_refused = 400 <= cost.status < 500 and cost.status != HTTPStatus.TOO_MANY_REQUESTS
    if not is_refused and not (cost.status < 300 and cost.body == FEW_UNKNOWN_MEMBERS):
        yield f"answered {cost.status}"
    if cost.answered > MOST_ANSWERED:
        yield f"answered {cost.answered} bytes"
    if cost.milliseconds > MOST_MILLISECONDS:
        yield f"blocked the loop for {cost.milliseconds:.0f} ms"
    if cost.megabytes > MOST_MEGABYTES:
        yield f"took {cost.megabytes:.0f} MB"


@contextlib.asynccontextmanager
async def timed(cost: Cost) -> AsyncIterator[None]:
    """Measure how long the loop is busy, by processor time: what other processes do adds little to it."""
    ticking = asyncio.create_task(tick(cost))
    await asyncio.sleep(0)
    yield
    await asyncio.sleep(0)
    ticking.cancel()


@contextlib.asynccontextmanager
async def weighed(cost: Cost) -> AsyncIterator[None]:
    """Measure how much memory is taken, at its peak."""
    tracemalloc.start()
    yield
    cost.megabytes = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()


async def tick(cost: Cost) -> None:
    """Take every turn of the loop, and note how long the others took."""
    cost.milliseconds, last = 0, time.thread_time()
    while True:
        await asyncio.sleep(0)
        now = time.thread_time()
        cost.milliseconds = max(cost.milliseconds, (now - last) * 1000)
        last = now


async def uncounted(app: FastAPI, callers: Callers, limit: int) -> list[str]:
    """Name the routes that go on answering a client that sends nothing but invalid bodies, of any kind."""
    found = []
    for number, route in enumerate(everywhere(app)):
        invalid = {"malformed": b"{\xff", "unfit": b"[7]", "too large": b" " * (route.limit + 1)}
        for index, (kind, body) in enumerate(invalid.items()):
            headers = {"Content-Type": route.media_type, "X-Forwarded-For": f"203.0.{number}.{index}"}
            async with callers.client(route, **headers) as sender:
                statuses = [await sent(sender, route, body) for _ in range(limit + 1)]
            is_refused = [status == HTTPStatus.TOO_MANY_REQUESTS for status in statuses]
            if is_refused != [False] * limit + [True] and {*statuses} != {HTTPStatus.FORBIDDEN}:
                found.append(f"{route.name}, {kind}: {statuses}")
    return found


async def sent(sender: AsyncClient, route: Route, body: bytes) -> int:
    """Send a body, and return the status of the answer."""
    return (await sender.request(route.method, route.url, content=body)).status_code


def table(measured: Sequence[Cost], most: int = 3) -> list[str]:
    """Show the most costly bodies of each route, as the rows of a table (Markdown)."""
    rows = ["| route | body | in | answer | blocked ms | MB | bytes |", "|---|---|---|---|---|---|---|"]
    for route in dict.fromkeys(cost.route for cost in measured):
        worst = sorted((cost for cost in measured if cost.route == route), key=lambda one: -one.milliseconds)
        for one in worst[:most]:
            figures = f"{one.status} | {one.milliseconds:.0f} | {one.megabytes:.1f} | {one.answered}"
            rows.append(f"| {route} | {one.body} | {one.place} | {figures} |")
    return rows

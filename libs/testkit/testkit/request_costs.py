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
from typing import NamedTuple

from fastapi import FastAPI
from httpx import AsyncClient
from servicekit.auth.permissions import Role, scopes_for
from servicekit.idempotency import HEADER

from testkit.app import client
from testkit.issuer import Issuer
from testkit.machine_speed import exceeds
from testkit.schemas import SchemaLocation
from testkit.token_matrix import TENANT, USER, internal_scopes
from testkit.worst_bodies import MAY_FIT, Route, all_routes_with_body, places_of, worst_bodies

MAX_MILLISECONDS, MAX_MEGABYTES, MAX_RESPONSE_BYTES = 100, 64, 4096
# What takes too long is tried again: on a busy machine caches are cold, and the same work takes longer.
ATTEMPTS = 3
# Of the bodies of a walk.
MAX_SIZE = 8 * 1024 * 1024
# In so many milliseconds nobody writes to as much memory as is too much.
NEGLIGIBLE_MILLISECONDS = 4


class Share(NamedTuple):
    """A part of the places to walk, one in `total` of them, so that several tests share the work evenly."""

    number: int
    total: int


ALL = Share(0, 1)


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
    scope = " ".join(sorted({*scopes_for(Role.OWNER), *internal_scopes(app)}))
    service = issuer.service_token("chat-agent", audience=app.state.resources.name, scope=scope)
    return Callers(issuer.token(tenant_id=TENANT, subject=USER, role="owner"), service)


@dataclass
class Cost:
    """What one request cost: the longest time without a turn of the loop, and memory at its peak."""

    route: str
    body: str
    place: str
    status: int = 0
    response_bytes: int = 0
    milliseconds: float = 0
    megabytes: float = 0
    is_slow: bool = False
    excess: list[str] = field(default_factory=list)


async def costs(
    app: FastAPI, callers: Callers, max_size: int = MAX_SIZE, share: Share = ALL
) -> AsyncIterator[Cost]:
    """Bring every worst body of at most this size to every route, and tell what it cost."""
    routes = [route._replace(limit=min(route.limit, max_size)) for route in all_routes_with_body(app)]
    places = [(route, place) for route in routes for place in places_of(route)]
    for route, place in places[share.number :: share.total]:
        async for cost in costs_of(route, place, callers):
            yield cost


async def costs_of(route: Route, place: SchemaLocation, callers: Callers) -> AsyncIterator[Cost]:
    """Bring every body that is bad in one place to a route."""
    headers = {"Content-Type": route.media_type, **({HEADER: "worst"} if route.is_idempotent else {})}
    async with callers.client(route, **headers) as sender:
        # What is made once, as connections are, is not a request's.
        await send_body(sender, route, b"")
        for body, content in worst_bodies(route, place):
            cost = Cost(route.name, body, place.name)
            for _ in range(ATTEMPTS):
                await measure_request(cost, sender, route, content)
                if not cost.excess:
                    break
            yield cost


async def measure_request(cost: Cost, sender: AsyncClient, route: Route, content: bytes) -> None:
    """Send a body, and once more to watch memory, which takes time itself; not what was over in a moment."""
    async with measure_time(cost):
        answer = await sender.request(route.method, route.url, content=content)
    if cost.milliseconds > NEGLIGIBLE_MILLISECONDS:
        async with measure_memory(cost):
            await send_body(sender, route, content)
    cost.status, cost.response_bytes = answer.status_code, len(answer.content)
    cost.excess = [*find_excesses(cost)]


def find_excesses(cost: Cost) -> Iterator[str]:
    """Return what is too much."""
    is_refused = 400 <= cost.status < 500 and cost.status != HTTPStatus.TOO_MANY_REQUESTS
    is_accepted = cost.status < 300 and cost.body in MAY_FIT
    if not is_refused and not is_accepted:
        yield f"answered {cost.status}"
    # What is accepted may be repeated in the answer.
    if is_refused and cost.response_bytes > MAX_RESPONSE_BYTES:
        yield f"answered {cost.response_bytes} bytes"
    if cost.is_slow:
        yield f"blocked the loop for {cost.milliseconds:.0f} ms"
    if cost.megabytes > MAX_MEGABYTES:
        yield f"took {cost.megabytes:.0f} MB"


@contextlib.asynccontextmanager
async def measure_time(cost: Cost) -> AsyncIterator[None]:
    """Measure how long the loop is busy, by processor time: what other processes do adds little to it."""
    ticking = asyncio.create_task(track_longest_block(cost))
    await asyncio.sleep(0)
    yield
    await asyncio.sleep(0)
    ticking.cancel()
    # At once: the machine may be faster when memory has been measured.
    cost.is_slow = exceeds(cost.milliseconds, MAX_MILLISECONDS)


@contextlib.asynccontextmanager
async def measure_memory(cost: Cost) -> AsyncIterator[None]:
    """Measure how much memory is taken, at its peak."""
    tracemalloc.start()
    yield
    cost.megabytes = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()


async def track_longest_block(cost: Cost) -> None:
    """Measure the longest time for which the loop ran something else, by a task that yields at once."""
    cost.milliseconds, last = 0, time.thread_time()
    while True:
        await asyncio.sleep(0)
        now = time.thread_time()
        cost.milliseconds = max(cost.milliseconds, (now - last) * 1000)
        last = now


async def find_uncounted_routes(app: FastAPI, callers: Callers, limit: int) -> list[str]:
    """Name the routes that go on answering a client that sends nothing but invalid bodies, of any kind."""
    failures = []
    for number, route in enumerate(all_routes_with_body(app)):
        invalid = {"malformed": b"{\xff", "unfit": b"[7]", "too large": b" " * (route.limit + 1)}
        for index, (kind, body) in enumerate(invalid.items()):
            headers = {"Content-Type": route.media_type, "X-Forwarded-For": f"203.0.{number}.{index}"}
            async with callers.client(route, **headers) as sender:
                statuses = [await send_body(sender, route, body) for _ in range(limit + 1)]
            is_refused = [status == HTTPStatus.TOO_MANY_REQUESTS for status in statuses]
            if is_refused != [False] * limit + [True] and {*statuses} != {HTTPStatus.FORBIDDEN}:
                failures.append(f"{route.name}, {kind}: {statuses}")
    return failures


async def send_body(sender: AsyncClient, route: Route, body: bytes) -> int:
    """Send a body, and return the status of the answer."""
    return (await sender.request(route.method, route.url, content=body)).status_code


def costs_table(measured: Sequence[Cost], max_rows: int = 3) -> list[str]:
    """Return the most costly bodies of each route, as the rows of a table (Markdown)."""
    rows = ["| route | body | in | answer | blocked ms | MB | bytes |", "|---|---|---|---|---|---|---|"]
    for route in dict.fromkeys(cost.route for cost in measured):
        sorted_costs = sorted(
            (cost for cost in measured if cost.route == route), key=lambda one: -one.milliseconds
        )
        for one in sorted_costs[:max_rows]:
            figures = f"{one.status} | {one.milliseconds:.0f} | {one.megabytes:.1f} | {one.response_bytes}"
            rows.append(f"| {route} | {one.body} | {one.place} | {figures} |")
    return rows

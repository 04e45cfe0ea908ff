"""Replays by callers who may do less than the first time: each is refused as a fresh request is.

assert await replayed_otherwise(app, issuer, {("POST", "/api/v1/conversations"): a_beginning}) == []
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import NamedTuple
from uuid import uuid4

from fastapi import FastAPI
from httpx import AsyncClient, Response
from pydantic import JsonValue
from servicekit.auth.dependencies import every_route
from servicekit.idempotency import HEADER, REPLAYED

from testkit.app import client
from testkit.issuer import Issuer
from testkit.token_matrix import NOBODY, TENANT, USER, code_of


class Sent(NamedTuple):
    """A request: its address and body."""

    url: str
    body: JsonValue = None


# Makes a request that succeeds, each time another, with a client that may do everything.
Make = Callable[[AsyncClient], Awaitable[Sent]]


def idempotent_routes(app: FastAPI) -> set[tuple[str, str]]:
    """List the public routes that say in their document that they take an Idempotency-Key."""
    paths = app.openapi()["paths"]
    return {
        (method.upper(), str(route.path_format))
        for route in every_route(app.routes)
        for method, operation in paths.get(route.path_format, {}).items()
        if any(one["name"].lower() == HEADER.lower() for one in operation.get("parameters", ()))
    }


def lesser_callers(app: FastAPI, issuer: Issuer) -> Iterator[tuple[str, AsyncClient]]:
    """Return clients of the same person who may do less: by role, scopes and headers."""
    owner = issuer.token(tenant_id=TENANT, subject=USER, role="owner")
    yield "a lower role", client(app, issuer.token(tenant_id=TENANT, subject=USER, role="viewer"))
    few = issuer.token(tenant_id=TENANT, subject=USER, role="owner", scope="billing:read")
    yield "too few scopes", client(app, few)
    yield "another X-Tenant-Id", client(app, owner, **{"X-Tenant-Id": NOBODY})
    yield "a narrower X-Tenant-Role", client(app, owner, **{"X-Tenant-Role": "viewer"})
    yield "an unknown X-Tenant-Role", client(app, owner, **{"X-Tenant-Role": "emperor"})


async def replayed_otherwise(
    app: FastAPI, issuer: Issuer, makers: Mapping[tuple[str, str], Make]
) -> list[str]:
    """Name the routes that answer a replay otherwise than a fresh request of the same caller."""
    found = [f"{method} {path}: not tried" for method, path in idempotent_routes(app) - makers.keys()]
    owner = client(app, issuer.token(tenant_id=TENANT, subject=USER, role="owner"))
    for (method, path), make in makers.items():
        sent, key = await make(owner), uuid4().hex
        first = await send(owner, method, sent, key)
        assert first.is_success, (path, first.text)
        for name, caller in lesser_callers(app, issuer):
            replay, fresh = (
                await send(caller, method, sent, key),
                await send(caller, method, sent, uuid4().hex),
            )
            if shape(replay) != shape(fresh) or not 400 <= replay.status_code < 500:
                found.append(f"{method} {path} with {name}: {shape(replay)} instead of {shape(fresh)}")
        again = await send(owner, method, sent, key)
        if REPLAYED not in again.headers or again.status_code != first.status_code:
            found.append(f"{method} {path} is not replayed to its caller: {shape(again)}")
    return found


async def send(caller: AsyncClient, method: str, sent: Sent, key: str) -> Response:
    """Send a request with a key."""
    body = {} if sent.body is None else {"json": sent.body}
    return await caller.request(method, sent.url, headers={HEADER: key}, **body)  # type: ignore[arg-type]


def shape(answer: Response) -> tuple[int, str]:
    """Return the status and the code of an answer."""
    return answer.status_code, code_of(answer)

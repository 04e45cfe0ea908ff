"""Replays by callers who may do less than the first time: each is refused as a fresh request is.

assert await find_wrong_replays(app, issuer, {("POST", "/api/v1/conversations"): a_beginning}) == []
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
from testkit.token_matrix import TENANT, UNKNOWN_ID, USER, error_code


class PreparedRequest(NamedTuple):
    """A request: its address and body."""

    url: str
    body: JsonValue = None


# Makes a request that succeeds, each time another, with a client that may do everything.
MakeRequest = Callable[[AsyncClient], Awaitable[PreparedRequest]]


def idempotent_routes(app: FastAPI) -> set[tuple[str, str]]:
    """List the public routes that say in their document that they take an Idempotency-Key."""
    paths = app.openapi()["paths"]
    return {
        (method.upper(), str(route.path_format))
        for route in every_route(app.routes)
        for method, operation in paths.get(route.path_format, {}).items()
        if any(one["name"].lower() == HEADER.lower() for one in operation.get("parameters", ()))
    }


def less_privileged_callers(app: FastAPI, issuer: Issuer) -> Iterator[tuple[str, AsyncClient]]:
    """Return clients of the same person who may do less: by role, scopes and headers."""
    owner = issuer.token(tenant_id=TENANT, subject=USER, role="owner")
    yield "a lower role", client(app, issuer.token(tenant_id=TENANT, subject=USER, role="viewer"))
    few = issuer.token(tenant_id=TENANT, subject=USER, role="owner", scope="billing:read")
    yield "too few scopes", client(app, few)
    yield "another X-Tenant-Id", client(app, owner, **{"X-Tenant-Id": UNKNOWN_ID})
    yield "a narrower X-Tenant-Role", client(app, owner, **{"X-Tenant-Role": "viewer"})
    yield "an unknown X-Tenant-Role", client(app, owner, **{"X-Tenant-Role": "emperor"})


async def find_wrong_replays(
    app: FastAPI, issuer: Issuer, makers: Mapping[tuple[str, str], MakeRequest]
) -> list[str]:
    """Name the routes that answer a replay otherwise than a fresh request of the same caller."""
    failures = [f"{method} {path}: not tried" for method, path in idempotent_routes(app) - makers.keys()]
    owner = client(app, issuer.token(tenant_id=TENANT, subject=USER, role="owner"))
    for (method, path), make in makers.items():
        request, key = await make(owner), uuid4().hex
        first = await send(owner, method, request, key)
        assert first.is_success, (path, first.text)
        for name, caller in less_privileged_callers(app, issuer):
            replay, fresh = (
                await send(caller, method, request, key),
                await send(caller, method, request, uuid4().hex),
            )
            if status_and_code(replay) != status_and_code(fresh) or not 400 <= replay.status_code < 500:
                got, expected = status_and_code(replay), status_and_code(fresh)
                failures.append(f"{method} {path} with {name}: {got} instead of {expected}")
        replay_of_owner = await send(owner, method, request, key)
        if REPLAYED not in replay_of_owner.headers or replay_of_owner.status_code != first.status_code:
            failures.append(
                f"{method} {path} is not replayed to its caller: {status_and_code(replay_of_owner)}"
            )
    return failures


async def send(caller: AsyncClient, method: str, request: PreparedRequest, key: str) -> Response:
    """Send a request with a key."""
    body = {} if request.body is None else {"json": request.body}
    return await caller.request(method, request.url, headers={HEADER: key}, **body)  # type: ignore[arg-type]


def status_and_code(answer: Response) -> tuple[int, str]:
    """Return the status and the code of an answer."""
    return answer.status_code, error_code(answer)

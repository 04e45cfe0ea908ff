"""Every kind of token there is, brought to every route that takes one: only the right kind may be let in.

async with running(create_app(settings)) as app:
    assert await mistakes(app, kinds(app, issuer)) == []
"""

import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple
from uuid import UUID, uuid4

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from httpx import Response
from pydantic import JsonValue, SecretStr
from servicekit.auth import jose
from servicekit.auth.api_keys import Introspection, format_key
from servicekit.auth.dependencies import POLICIES, OnBehalfOf, Public, ServiceOnly, every_route
from servicekit.auth.permissions import Role, scopes_for
from servicekit.encryption import encrypt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse

from testkit.app import client
from testkit.databases import contents
from testkit.issuer import Issuer, SigningKey, compact

TENANT = UUID("7e9a4d52-6c1f-4a8e-9d3b-2f5c8b7a6e10")
USER = "user:0b6f1c9e-3d47-4e2a-8c5d-9a1e7f4b2c68"
NOBODY = "00000000-0000-4000-8000-000000000000"
API_KEY = format_key(UUID(int=1), "5e" * 32)

# How a kind is refused: status and code. None: it is let in.
Refusal = tuple[int, str] | None
NO_TOKEN: Refusal = (401, "invalid_token")
NOT_HERE: Refusal = (403, "forbidden")


class Kind(NamedTuple):
    """One kind of token: its name, one of it, and how the public and the internal routes take it."""

    name: str
    token: str
    public: Refusal = NO_TOKEN
    internal: Refusal = NO_TOKEN


class Place(NamedTuple):
    """A route that takes a token."""

    app: FastAPI
    method: str
    path: str
    is_internal: bool

    async def __call__(self, token: str, body: JsonValue = None) -> Response:
        """Bring a token here; without a body there is nothing that anything could be done with."""
        path = re.sub(r"{(\w+)(?::\w+)?}", lambda name: filled(name[1]), self.path)
        headers = {"Acme-On-Behalf-Of": f"{TENANT}/{USER}"} if self.is_internal else {}
        async with client(self.app, token, **headers) as asking:
            sent = None if self.method in {"GET", "DELETE"} else body or {}
            return await asking.request(self.method, path, json=sent)


def filled(name: str) -> str:
    """Return something for a part of a path."""
    if name == "tenant_id":
        return str(TENANT)
    return NOBODY if name.endswith("_id") else "nobody"


def kinds(app: FastAPI, issuer: Issuer) -> list[Kind]:
    """Return one token of each kind, as every service but auth meets them; with every scope there is."""
    here, scope = app.state.resources.name, " ".join(sorted({*scopes_for(Role.OWNER), *scopes_inside(app)}))
    person = partial(issuer.token, tenant_id=TENANT, subject=USER)
    account = partial(issuer.service_token, "sa.export.1", scope=scope, tenant_id=str(TENANT), role="owner")
    for_all = issuer.service_token("sa.support.1", audience=here, scope=scope)
    ours = partial(issuer.service_token, "chat-agent", scope=scope)
    return [
        Kind("access token", person(), None, NOT_HERE),
        Kind(
            "access token of a suspended tenant's owner",
            person(without=["tenant_id", "role", "scope"]),
            NOT_HERE,
            NOT_HERE,
        ),
        Kind("API key", API_KEY, None, NOT_HERE),
        Kind("service account's token", account(audience=issuer.audience), None, NOT_HERE),
        Kind("service account's token for this service alone", account(audience=here), None, NOT_HERE),
        Kind("service account's token for all tenants", for_all, NOT_HERE, NOT_HERE),
        Kind("service's token", ours(audience=here), NOT_HERE, None),
        Kind("service's token for another", ours(audience="elsewhere")),
        Kind("person's token for another", person(aud="elsewhere")),
        Kind("ID token", person(header={"typ": "JWT"})),
        *opaque(),
    ]


def opaque() -> list[Kind]:
    """Return one of each kind that says nothing by itself, and of what machines and operators sign."""
    random, hexadecimal = jose.encode(secrets.token_bytes(32)), secrets.token_hex(32)
    return [
        Kind("API key that nobody was given", format_key(uuid4(), hexadecimal)),
        Kind("refresh token", f"acme_rt_{random}"),
        Kind("device token", f"acme_dv_{uuid4().hex}.{random}"),
        Kind("mail's token", f"{uuid4()}.{random}"),
        Kind("challenge", random),
        Kind("service account's secret", f"acme_sa_{hexadecimal}"),
        Kind("client assertion", assertion()),
        Kind("signature of an issuance", f"vault:v1:{random}"),
        Kind("token in an event", encrypt(SecretStr(random), random, context=USER)),
    ]


def assertion(client_id: str = "sa.export.1") -> str:
    """Sign what a machine proves itself with (RFC 7523), by a key of its own."""
    now, key = int(time.time()), SigningKey()
    common: dict[str, JsonValue] = {"iat": now, "exp": now + 60, "jti": str(uuid4())}
    said: dict[str, JsonValue] = {
        "iss": client_id,
        "sub": client_id,
        "aud": "https://auth.acme.test",
        **common,
    }
    return key.sign(compact({"typ": "JWT", "alg": "EdDSA"}), compact(said))


async def mistakes(app: FastAPI, brought: Sequence[Kind]) -> list[str]:
    """Bring every kind to every route, and tell where it was taken otherwise than it should be.

    What is to be refused comes first, and none of it may change a row.
    """
    url = app.state.resources.settings.database_url.get_secret_value()
    everywhere = [*places(app), *places(app.state.internal, is_internal=True)]
    if not everywhere:
        return ["no route takes a token"]
    before = await contents(url)
    found = [line async for line in taken_otherwise(everywhere, brought, is_let_in=False)]
    if await contents(url) != before:
        found.append("something was changed by a token of the wrong kind")
    return found + [line async for line in taken_otherwise(everywhere, brought, is_let_in=True)]


async def taken_otherwise(
    everywhere: Iterable[Place], brought: Sequence[Kind], *, is_let_in: bool
) -> AsyncIterator[str]:
    """Return where kinds are taken otherwise, of those that are, or are not, to be let in."""
    for place in everywhere:
        for kind in brought:
            wanted = kind.internal if place.is_internal else kind.public
            if (wanted is None) is not is_let_in:
                continue
            answer = await place(kind.token)
            if not is_as(answer, wanted):
                yield f"{kind.name}: {place.method} {place.path} {answer.status_code} {code_of(answer)}"


def is_as(answer: Response, wanted: Refusal) -> bool:
    """Return whether a token was answered as it should be; an allowed one may still find nothing there."""
    if wanted is None:
        return answer.status_code < 500 and answer.status_code not in {401, 403}
    return (answer.status_code, code_of(answer)) == wanted


def code_of(answer: Response) -> str:
    """Return the code of a refusal, in our words or in OpenAI's."""
    if answer.is_success or "json" not in answer.headers.get("Content-Type", ""):
        return ""
    body = answer.json()
    error = body.get("error")
    return str((error if isinstance(error, dict) else body).get("code"))


def places(app: FastAPI, *, is_internal: bool = False) -> list[Place]:
    """List the routes of an app that take a token, be they in its document or not."""
    return [
        Place(app, method, route.path or "", is_internal)
        for route in every_route(app.routes)
        if (dependant := getattr(route, "dependant", None))
        and not all(isinstance(policy, Public) for policy in policies(dependant))
        for method in sorted(route.methods or ())
    ]


def policies(dependant: Dependant) -> Iterator[Callable[..., object]]:
    """Walk what a route says of who may call it."""
    if isinstance(dependant.call, POLICIES):
        yield dependant.call
    for one in dependant.dependencies:
        yield from policies(one)


def scopes_inside(app: FastAPI) -> set[str]:
    """Collect what services must hold at the internal door."""
    routes = every_route(app.state.internal.routes)
    dependants = [dependant for route in routes if (dependant := getattr(route, "dependant", None))]
    found = [policy for dependant in dependants for policy in policies(dependant)]
    return {policy.scope for policy in found if isinstance(policy, OnBehalfOf | ServiceOnly)}


def knowing_auth() -> Starlette:
    """Make the internal door of an auth that knows `API_KEY` alone."""
    known = Introspection(
        active=True,
        subject="service:ak.1",
        client_id="ak.1",
        tenant_id=TENANT,
        role=Role.OWNER,
        scopes=scopes_for(Role.OWNER),
        audience=("acme-api",),
        expires_at=int(time.time()) + 900,
    )

    async def token(_: Request) -> JSONResponse:
        return JSONResponse({"access_token": "of a service of this test", "expires_in": 600})

    async def introspect(request: Request) -> JSONResponse:
        asked = (await request.json())["key"]
        told = known if asked == API_KEY else Introspection()
        return JSONResponse(told.model_dump(mode="json"))

    app = Starlette()
    app.add_route("/internal/v1/oauth/token", token, methods=["POST"])
    app.add_route("/internal/v1/api-keys/introspect", introspect, methods=["POST"])
    return app

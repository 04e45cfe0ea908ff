"""Every kind of token there is, brought to every route that takes one: only the right kind may be let in.

async with running(create_app(settings)) as app:
    assert await find_violations(app, token_kinds(app, issuer)) == []
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
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
API_KEY = format_key(UUID(int=1), "5e" * 32)

# How a kind is refused: status and code. None: it is let in.
Refusal = tuple[int, str] | None
NO_TOKEN: Refusal = (401, "invalid_token")
UNKNOWN_API_KEY: Refusal = (401, "invalid_api_key")
WRONG_AUDIENCE: Refusal = (403, "forbidden")


class TokenKind(NamedTuple):
    """One kind of token: its name, one of it, and how the public and the internal routes take it."""

    name: str
    token: str
    public: Refusal = NO_TOKEN
    internal: Refusal = NO_TOKEN


class ProtectedRoute(NamedTuple):
    """A route that takes a token."""

    app: FastAPI
    method: str
    path: str
    is_internal: bool

    async def __call__(self, token: str, body: JsonValue = None) -> Response:
        """Bring a token here; without a body there is nothing that anything could be done with."""
        path = re.sub(r"{(\w+)(?::\w+)?}", lambda name: fill_path_parameter(name[1]), self.path)
        headers = {"Acme-On-Behalf-Of": f"{TENANT}/{USER}"} if self.is_internal else {}
        async with client(self.app, token, **headers) as asking:
            sent = None if self.method in {"GET", "DELETE"} else body or {}
            return await asking.request(self.method, path, json=sent)


def fill_path_parameter(name: str) -> str:
    """Return something for a part of a path."""
    if name == "tenant_id":
        return str(TENANT)
    return UNKNOWN_ID if name.endswith("_id") else "nobody"


def token_kinds(app: FastAPI, issuer: Issuer) -> list[TokenKind]:
    """Return one token of each kind, as every service but auth meets them; with every scope there is."""
    here, scope = app.state.resources.name, " ".join(sorted({*scopes_for(Role.OWNER), *internal_scopes(app)}))
    person = partial(issuer.token, tenant_id=TENANT, subject=USER)
    account = partial(issuer.service_token, "sa.export.1", scope=scope, tenant_id=str(TENANT), role="owner")
    for_all = issuer.service_token("sa.support.1", audience=here, scope=scope)
    ours = partial(issuer.service_token, "chat-agent", scope=scope)
    return [
        TokenKind("access token", person(), None, WRONG_AUDIENCE),
        TokenKind(
            "access token of a suspended tenant's owner",
            person(without=["tenant_id", "role", "scope"]),
            WRONG_AUDIENCE,
            WRONG_AUDIENCE,
        ),
        TokenKind("API key", API_KEY, None, WRONG_AUDIENCE),
        TokenKind("service account's token", account(audience=issuer.audience), None, WRONG_AUDIENCE),
        TokenKind(
            "service account's token for this service alone", account(audience=here), None, WRONG_AUDIENCE
        ),
        TokenKind("service account's token for all tenants", for_all, WRONG_AUDIENCE, WRONG_AUDIENCE),
        TokenKind("service's token", ours(audience=here), WRONG_AUDIENCE, None),
        TokenKind("service's token for another", ours(audience="elsewhere")),
        TokenKind("person's token for another", person(aud="elsewhere")),
        TokenKind("ID token", person(header={"typ": "JWT"})),
        *opaque_token(),
    ]


def opaque_token() -> list[TokenKind]:
    """Return one of each kind that says nothing by itself, and of what machines and operators sign."""
    random, hexadecimal = jose.encode(secrets.token_bytes(32)), secrets.token_hex(32)
    return [
        TokenKind(
            "API key that nobody was given",
            format_key(uuid4(), hexadecimal),
            UNKNOWN_API_KEY,
            UNKNOWN_API_KEY,
        ),
        TokenKind("refresh token", f"acme_rt_{random}"),
        TokenKind("device token", f"acme_dv_{uuid4().hex}.{random}"),
        TokenKind("mail's token", f"{uuid4()}.{random}"),
        TokenKind("challenge", random),
        TokenKind("service account's secret", f"acme_sa_{hexadecimal}"),
        TokenKind("client assertion", client_assertion()),
        TokenKind("signature of an issuance", f"vault:v1:{random}"),
        TokenKind("token in an event", encrypt(SecretStr(random), random, context=USER)),
    ]


def client_assertion(client_id: str = "sa.export.1") -> str:
    """Sign what a machine proves itself with (RFC 7523), by a key of its own."""
    now, key = int(time.time()), SigningKey()
    common: dict[str, JsonValue] = {"iat": now, "exp": now + 60, "jti": str(uuid4())}
    claims: dict[str, JsonValue] = {
        "iss": client_id,
        "sub": client_id,
        "aud": "https://auth.acme.test",
        **common,
    }
    return key.sign(compact({"typ": "JWT", "alg": "EdDSA"}), compact(claims))


async def find_violations(app: FastAPI, brought: Sequence[TokenKind]) -> list[str]:
    """Bring every kind to every route, and tell where it was taken otherwise than it should be.

    What is to be refused comes first, and none of it may change a row.
    """
    url = app.state.resources.settings.database_url.get_secret_value()
    everywhere = [*protected_routes(app), *protected_routes(app.state.internal, is_internal=True)]
    if not everywhere:
        return ["no route takes a token"]
    before = await contents(url)
    violations = [line async for line in find_wrong_answers(everywhere, brought, is_let_in=False)]
    if await contents(url) != before:
        violations.append("something was changed by a token of the wrong kind")
    return violations + [line async for line in find_wrong_answers(everywhere, brought, is_let_in=True)]


async def find_wrong_answers(
    everywhere: Iterable[ProtectedRoute], brought: Sequence[TokenKind], *, is_let_in: bool
) -> AsyncIterator[str]:
    """Return where kinds are taken otherwise, of those that are, or are not, to be let in."""
    for place in everywhere:
        for kind in brought:
            expected = kind.internal if place.is_internal else kind.public
            if (expected is None) is not is_let_in:
                continue
            answer = await place(kind.token)
            if not matches(answer, expected):
                yield f"{kind.name}: {place.method} {place.path} {answer.status_code} {error_code(answer)}"


def matches(answer: Response, expected: Refusal) -> bool:
    """Return whether a token was answered as it should be; an allowed one may still find nothing there."""
    if expected is None:
        return answer.status_code < 500 and answer.status_code not in {401, 403}
    return (answer.status_code, error_code(answer)) == expected


def error_code(answer: Response) -> str:
    """Return the code of a refusal, in our words or in OpenAI's."""
    if answer.is_success or "json" not in answer.headers.get("Content-Type", ""):
        return ""
    body = answer.json()
    error = body.get("error")
    return str((error if isinstance(error, dict) else body).get("code"))


def protected_routes(app: FastAPI, *, is_internal: bool = False) -> list[ProtectedRoute]:
    """List the routes of an app that take a token, be they in its document or not."""
    return [
        ProtectedRoute(app, method, route.path or "", is_internal)
        for route in every_route(app.routes)
        if (dependant := getattr(route, "dependant", None))
        and not all(isinstance(policy, Public) for policy in policies_of(dependant))
        for method in sorted(route.methods or ())
    ]


def policies_of(dependant: Dependant) -> Iterator[Callable[..., object]]:
    """Walk what a route says of who may call it."""
    if isinstance(dependant.call, POLICIES):
        yield dependant.call
    for one in dependant.dependencies:
        yield from policies_of(one)


def internal_scopes(app: FastAPI) -> set[str]:
    """Collect what services must have at the internal port."""
    routes = every_route(app.state.internal.routes)
    dependants = [dependant for route in routes if (dependant := getattr(route, "dependant", None))]
    policies = [policy for dependant in dependants for policy in policies_of(dependant)]
    return {policy.scope for policy in policies if isinstance(policy, OnBehalfOf | ServiceOnly)}


def fake_auth() -> Starlette:
    """Return the internal app of an auth that knows `API_KEY` alone."""
    known = Introspection(
        active=True,
        subject="service:ak.1",
        client_id="ak.1",
        tenant_id=TENANT,
        role=Role.OWNER,
        scopes=scopes_for(Role.OWNER),
        audience=("acme-api",),
    )

    async def token(_: Request) -> JSONResponse:
        return JSONResponse({"access_token": "of a service of this test", "expires_in": 600})

    async def introspect(request: Request) -> JSONResponse:
        key = (await request.json())["key"]
        # From now on: it answers for as long as a run of all tests takes.
        until = {"expires_at": int(time.time()) + 900}
        introspection = known.model_copy(update=until) if key == API_KEY else Introspection()
        return JSONResponse(introspection.model_dump(mode="json"))

    app = Starlette()
    app.add_route("/internal/v1/oauth/token", token, methods=["POST"])
    app.add_route("/internal/v1/api-keys/introspect", introspect, methods=["POST"])
    return app

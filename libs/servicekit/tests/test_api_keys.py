"""API keys in a service; auth is a stand-in that counts what it is asked, over real HTTP."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from servicekit import errors
from servicekit.auth import api_keys
from servicekit.auth.api_keys import ApiKeyIntrospector
from servicekit.auth.call_limits import CallRates
from servicekit.auth.dependencies import Caller
from servicekit.http.client import HttpPool
from servicekit.http.service_tokens import ServiceTokens
from servicekit.rate_limits import tenant_key
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from testkit.live_server import serving

TENANT = UUID("7e4a0000-0000-4000-8000-000000000001")
KEY = api_keys.format_key(uuid4(), "ab" * 32)
GOOD = {
    "active": True,
    "subject": "service:ak.1",
    "client_id": "ak.1",
    "tenant_id": str(TENANT),
    "role": "member",
    "scopes": ["conversations:read"],
    "audience": ["acme-api"],
    "expires_at": 2_000_000_000,
}


@dataclass
class Auth:
    """What it says, and the requests that it got."""

    answer: dict[str, Any] = field(default_factory=lambda: dict(GOOD))
    status: int = 200
    requests: list[dict[str, str]] = field(default_factory=list)
    issued: int = 0
    # The first so many of the tokens that it has issued are no longer believed.
    void: int = 0

    def app(self) -> Starlette:
        app = Starlette()
        app.add_route("/internal/v1/oauth/token", self.token, methods=["POST"])
        app.add_route("/internal/v1/api-keys/introspect", self.introspect, methods=["POST"])
        return app

    async def token(self, request: Request) -> Response:
        form = await request.form()
        assert (form["audience"], form["scope"]) == ("auth", api_keys.SCOPE)
        self.issued += 1
        return JSONResponse({"access_token": f"own-{self.issued}", "expires_in": 600})

    async def introspect(self, request: Request) -> Response:
        if int(request.headers["authorization"].removeprefix("Bearer own-")) <= self.void:
            return JSONResponse({}, 401)
        self.requests.append(await request.json())
        return JSONResponse(self.answer, self.status, {"Retry-After": "7"})


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def other() -> Auth:
    return Auth()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url(other: Auth) -> Iterator[str]:
    with serving(other.app()) as url:
        yield url


def resources(keys: ApiKeyIntrospector, rates: CallRates) -> SimpleNamespace:
    settings = SimpleNamespace(trusted_proxy_count=1)
    return SimpleNamespace(name="notification", api_keys=keys, settings=settings, rates=rates)


@pytest.fixture
async def client(url: str, clock: Clock, rates: CallRates) -> Any:
    """A client of a service that takes API keys."""
    app = FastAPI()
    errors.install(app)

    @app.get("/")
    async def who(caller: Caller) -> dict[str, object]:
        return {"subject": caller.subject, "role": str(caller.role), "key": tenant_key(caller.tenant_id, "x")}

    async with aclosing(HttpPool()) as http:
        tokens = ServiceTokens(http, url, "notification", SecretStr("secret"))
        app.state.resources = resources(ApiKeyIntrospector(http, tokens, url, clock), rates)
        transport = httpx.ASGITransport(app, client=("198.51.100.7", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


async def ask(client: httpx.AsyncClient, key: str = KEY, **headers: str) -> httpx.Response:
    return await client.get("/", headers={"Authorization": f"Bearer {key}", **headers})


async def test_lets_in_whom_auth_knows(client, other):
    answer = await ask(client)
    assert answer.json() == {"subject": "service:ak.1", "role": "member", "key": f"{{{TENANT}}}:x"}
    assert other.requests == [{"key": KEY, "address": "198.51.100.7"}]


async def test_asks_nobody_about_what_cannot_be_a_key(client, other):
    for key in (
        KEY[:-1],
        KEY[:-1] + ("0" if KEY[-1] != "0" else "1"),
        KEY.replace("ab", "AB"),
        "acme_ak_",
        KEY + "0",
    ):
        answer = await ask(client, key)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")
        assert "mistyped" in answer.json()["detail"]
    assert other.requests == []


async def test_tells_that_a_key_has_expired(client, other):
    other.answer = {"active": False, "expired": True}
    answer = await ask(client)
    assert (answer.status_code, answer.json()["code"]) == (401, "api_key_expired")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_asks_once_in_a_while_and_once_for_many_at_a_time(client, other, clock):
    answers = await asyncio.gather(*(ask(client) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    clock.now += api_keys.CACHE_SECONDS - 0.1
    await ask(client)
    assert len(other.requests) == 1
    clock.now += 0.1
    await ask(client)
    assert len(other.requests) == 2


async def test_keeps_a_word_for_less_than_the_five_seconds_in_which_a_revocation_counts(client, other, clock):
    assert (await ask(client)).status_code == 200
    other.answer = {"active": False}
    clock.now += 4.9
    assert (await ask(client)).status_code == 401


async def test_remembers_keys_that_do_not_work_too_but_not_for_ever(client, other, clock):
    other.answer = {"active": False}
    for _ in range(3):
        answer = await ask(client)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")
        assert "Unknown API key" in answer.json()["detail"]
    assert len(other.requests) == 1
    other.answer = GOOD
    clock.now += api_keys.CACHE_SECONDS
    assert (await ask(client)).status_code == 200


async def test_remembers_only_so_many(client, other, monkeypatch):
    monkeypatch.setattr(api_keys, "MAX_CACHED", 2)
    other.answer = {"active": False}
    keys = [api_keys.format_key(uuid4(), "cd" * 32) for _ in range(3)]
    for key in (*keys, keys[2], keys[0]):
        await ask(client, key)
    assert [one["key"] for one in other.requests] == [*keys, keys[0]]


async def test_asks_again_for_another_address(client, other):
    for address in ("203.0.113.1", "203.0.113.1", "203.0.113.2"):
        await ask(client, **{"X-Forwarded-For": address})
    assert [one["address"] for one in other.requests] == ["203.0.113.1", "203.0.113.2"]


@pytest.mark.parametrize("lack", [{"scopes": []}, {"role": None}, {"tenant_id": None}])
async def test_takes_an_answer_without_limits_for_none(client, other, lack):
    other.answer = {**GOOD, **lack}
    assert (await ask(client)).status_code == 401


async def test_passes_on_that_an_address_must_wait(client, other):
    other.status = 429
    answer = await ask(client)
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_invalid_api_keys")
    assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize("status", [401, 403, 404, 500])
async def test_lets_nobody_in_while_auth_cannot_tell_and_recovers(client, other, status):
    other.status = status
    answer = await ask(client)
    assert (answer.status_code, answer.json()["code"]) == (503, "dependency_unavailable")
    assert "retry-after" in answer.headers
    other.status = 200
    assert (await ask(client)).status_code == 200


async def test_gets_itself_a_new_token_when_its_own_is_void_before_its_time(client, other, clock):
    assert (await ask(client)).status_code == 200
    other.void = 1
    clock.now += api_keys.CACHE_SECONDS
    assert (await ask(client)).status_code == 200
    assert other.issued == 2


async def test_lets_nobody_in_while_auth_is_away(rates):
    app = FastAPI()
    errors.install(app)

    @app.get("/")
    async def who(caller: Caller) -> str:
        return caller.subject

    async with aclosing(HttpPool()) as http:
        nowhere = "http://127.0.0.1:1"
        tokens = ServiceTokens(http, nowhere, "notification", SecretStr("secret"))
        app.state.resources = resources(ApiKeyIntrospector(http, tokens, nowhere), rates)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            assert (await ask(client)).status_code == 503

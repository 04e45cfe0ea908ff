"""Calls to other services, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI, Request, Response
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from pydantic import SecretStr
from sandbox.embedded import free_port
from servicekit import context
from servicekit.http.client import DependencyUnavailable, HttpPool, HttpResponse, send
from servicekit.http.service_tokens import ServiceClient, ServiceTokens
from testkit.live_server import serving

TENANT = uuid4()
ANN = f"user:{uuid4()}"


class Neighbour:
    """auth's token endpoint and a service behind it, which remember how they were called."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.calls: list[Request] = []
        self.forms: list[str] = []
        self.bodies: list[Any] = []
        self.headers: dict[str, str] = {}
        self.expires_in = 600
        self.token_status = 200
        self.app = FastAPI()
        self.app.post("/internal/v1/oauth/token")(self.token)
        self.app.api_route("/internal/v1/things", methods=["GET", "POST"])(self.things)

    async def token(self, request: Request, response: Response) -> dict[str, Any]:
        self.forms.append((await request.body()).decode())
        response.status_code = self.token_status
        return {"access_token": f"token-{len(self.forms)}", "expires_in": self.expires_in}

    async def things(self, request: Request) -> Response:
        self.calls.append(request)
        self.bodies.append(json.loads(await request.body() or b"null"))
        status = self.answers.pop(0) if self.answers else 200
        return Response("{}", status, self.headers, media_type="application/json")


class HangingUp:
    """A side that says the same to so many requests of each connection, and hangs up on the next."""

    def __init__(self, after: int, response: bytes) -> None:
        self.url = ""
        self.connections = 0
        self.requests = 0
        self._after = after
        self._response = response

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        for number in range(self._after + 1):
            try:
                await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            self.requests += 1
            if number < self._after:
                writer.write(self._response)
            if b"half" in self._response:
                break
        writer.close()


@asynccontextmanager
async def hanging_up(
    after: int, response: bytes = b"HTTP/1.1 204 No Content\r\n\r\n"
) -> AsyncIterator[HangingUp]:
    side = HangingUp(after, response)
    server = await asyncio.start_server(side.answer, "127.0.0.1", 0)
    side.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        yield side


@pytest.fixture
def neighbour() -> Neighbour:
    return Neighbour()


@pytest.fixture
def url(neighbour: Neighbour) -> Iterator[str]:
    with serving(neighbour.app) as url:
        yield url


@pytest.fixture
async def service(url: str) -> AsyncIterator[ServiceClient]:
    async with aclosing(HttpPool()) as http:
        tokens = ServiceTokens(http, url, "shop", SecretStr("a-secret-of-this-test"))
        yield ServiceClient(http, tokens, url, "stock", "things:read")


async def call(service: ServiceClient) -> HttpResponse:
    return await service.request("GET", "/things", on_behalf_of=(TENANT, ANN))


async def test_comes_with_its_own_token_and_says_for_whom(
    service: ServiceClient, neighbour: Neighbour
) -> None:
    await call(service)
    (request,) = neighbour.calls
    assert request.headers["authorization"] == "Bearer token-1"
    assert request.headers["acme-on-behalf-of"] == f"{TENANT}/{ANN}"
    assert "audience=stock" in neighbour.forms[0]
    assert "grant_type=client_credentials" in neighbour.forms[0]


async def test_carries_the_request_id_and_the_trace(service: ServiceClient, neighbour: Neighbour) -> None:
    tracer = TracerProvider().get_tracer("test")
    with context.scope(correlation_id="r1"), tracer.start_as_current_span("call") as span:
        await call(service)
    (request,) = neighbour.calls
    assert request.headers["x-request-id"] == "r1"
    assert trace.format_trace_id(span.get_span_context().trace_id) in request.headers["traceparent"]


async def test_a_token_is_fetched_once_and_not_used_until_it_expires(
    service: ServiceClient, neighbour: Neighbour
) -> None:
    await call(service)
    await call(service)
    assert len(neighbour.forms) == 1
    neighbour.expires_in = 9
    hasty = ServiceTokens(service.http, service.base_url, "shop", SecretStr("a-secret-of-this-test"))
    assert await hasty.get("stock", "things:read") != await hasty.get("stock", "things:read")


async def test_a_required_token_is_fetched_before_its_first_use(
    service: ServiceClient, neighbour: Neighbour
) -> None:
    service.tokens.require("stock", "things:read")
    await service.tokens.step()
    neighbour.token_status = 500
    assert (await call(service)).status == 200


async def test_a_token_is_renewed_after_half_of_its_lifetime_and_used_while_auth_is_away(
    service: ServiceClient, neighbour: Neighbour
) -> None:
    seconds = 0.0
    tokens = ServiceTokens(
        service.http, service.base_url, "shop", SecretStr("a-secret-of-this-test"), clock=lambda: seconds
    )
    first = await tokens.get("stock", "things:read")
    seconds = 301
    neighbour.token_status = 500
    with pytest.raises(DependencyUnavailable):
        await tokens.step()
    seconds = 589
    assert await tokens.get("stock", "things:read") == first
    seconds = 590
    with pytest.raises(DependencyUnavailable):
        await tokens.get("stock", "things:read")
    neighbour.token_status = 200
    assert 0 < await tokens.step() <= 15
    assert await tokens.get("stock", "things:read") != first


async def test_tries_again_when_the_other_side_is_away_for_a_moment(
    service: ServiceClient, neighbour: Neighbour
) -> None:
    neighbour.answers = [503, 502]
    assert await call(service) == HttpResponse(200, b"{}")
    assert len(neighbour.calls) == 3


async def test_gives_up_after_three_tries(service: ServiceClient, neighbour: Neighbour) -> None:
    neighbour.answers = [503] * 9
    with pytest.raises(DependencyUnavailable):
        await call(service)
    assert len(neighbour.calls) == 3


async def test_a_broken_answer_is_not_requested_again(service: ServiceClient, neighbour: Neighbour) -> None:
    neighbour.answers = [500]
    with pytest.raises(DependencyUnavailable):
        await call(service)
    assert len(neighbour.calls) == 1


@pytest.mark.parametrize("status", [404, 409, 422])
async def test_a_refusal_is_the_callers_to_understand(
    service: ServiceClient, neighbour: Neighbour, status: int
) -> None:
    neighbour.answers = [status]
    assert (await call(service)).status == status


async def test_nobody_there_is_unavailable() -> None:
    async with aclosing(HttpPool()) as http:
        tokens = ServiceTokens(http, "http://127.0.0.1:1", "shop", SecretStr("a-secret-of-this-test"))
        with pytest.raises(DependencyUnavailable):
            await tokens.get("stock", "things:read")


async def test_without_credentials_there_is_no_token() -> None:
    with pytest.raises(DependencyUnavailable, match="SERVICE_CLIENT_SECRET"):
        await ServiceTokens(HttpPool(), "http://127.0.0.1:1", "shop", None).get("stock", "things:read")


async def test_sends_json_whatever_it_holds(service: ServiceClient, neighbour: Neighbour) -> None:
    body = {"text": "Grüße", "count": 2**70, "more": [None, True, 1.5]}
    answer = await service.request("POST", "/things", on_behalf_of=(TENANT, ANN), json=body)
    assert answer.json() == {}
    (request,) = neighbour.calls
    assert request.headers["content-type"] == "application/json"
    assert neighbour.bodies == [body]


async def test_sends_the_request_as_it_is(service: ServiceClient, neighbour: Neighbour) -> None:
    query = {"query": "a b&c=ü+%/?#", "limit": 5}
    await service.request("GET", "/things", on_behalf_of=(TENANT, ANN), params=query)
    (request,) = neighbour.calls
    assert dict(request.query_params) == {"query": "a b&c=ü+%/?#", "limit": "5"}
    assert neighbour.bodies == [None]


async def test_goes_through_no_proxy_keeps_no_cookie_and_follows_nobody(
    service: ServiceClient, neighbour: Neighbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    neighbour.headers = {"Set-Cookie": "id=1", "Location": "/internal/v1/elsewhere"}
    neighbour.answers = [307]
    assert (await call(service)).status == 307
    await call(service)
    assert "cookie" not in neighbour.calls[1].headers


async def test_outlives_a_restart_of_the_other_side(neighbour: Neighbour) -> None:
    port = free_port()
    async with aclosing(HttpPool()) as http:
        for _ in range(2):
            with serving(neighbour.app, port) as url:
                # The loop stood still meanwhile: it cannot have seen yet that the connection is gone.
                assert (await send(http, "POST", f"{url}/internal/v1/things", json={})).status == 200
    assert len(neighbour.calls) == 2


async def test_keeps_a_connection() -> None:
    async with hanging_up(after=5) as side, aclosing(HttpPool()) as http:
        for _ in range(5):
            assert (await send(http, "GET", side.url)).status == 204
    assert side.connections == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
async def test_a_connection_that_breaks_is_one_try(method: str) -> None:
    async with hanging_up(after=1) as side, aclosing(HttpPool()) as http:
        for _ in range(2):
            assert (await send(http, method, side.url)).status == 204
    assert side.requests == 3


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
async def test_hanging_up_is_unavailable_after_three_tries(method: str) -> None:
    async with hanging_up(after=0) as side, aclosing(HttpPool()) as http:
        with pytest.raises(DependencyUnavailable):
            await send(http, method, side.url)
    assert side.requests == 3


async def test_half_an_answer_is_none() -> None:
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
    async with hanging_up(after=9, response=half) as side, aclosing(HttpPool()) as http:
        with pytest.raises(DependencyUnavailable):
            await send(http, "GET", side.url)
    assert side.requests == 3

"""Calls to other services, over real sockets."""

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from pydantic import SecretStr
from servicekit import context
from servicekit.http import DependencyUnavailable, ServiceClient, ServiceTokens
from testkit.servers import serving

TENANT = uuid4()
ANN = f"user:{uuid4()}"


class Neighbour:
    """auth's token endpoint and a service behind it, which remember how they were called."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.calls: list[Request] = []
        self.forms: list[str] = []
        self.expires_in = 600
        self.app = FastAPI()
        self.app.post("/internal/v1/oauth/token")(self.token)
        self.app.api_route("/internal/v1/things", methods=["GET", "POST"])(self.things)

    async def token(self, request: Request) -> dict[str, Any]:
        self.forms.append((await request.body()).decode())
        return {"access_token": f"token-{len(self.forms)}", "expires_in": self.expires_in}

    async def things(self, request: Request) -> Response:
        self.calls.append(request)
        return Response("{}", self.answers.pop(0) if self.answers else 200, media_type="application/json")


@pytest.fixture
def neighbour() -> Neighbour:
    return Neighbour()


@pytest.fixture
def url(neighbour: Neighbour) -> Iterator[str]:
    with serving(neighbour.app) as url:
        yield url


@pytest.fixture
async def service(url: str) -> AsyncIterator[ServiceClient]:
    async with httpx.AsyncClient(timeout=2) as http:
        tokens = ServiceTokens(http, url, "shop", SecretStr("a-secret-of-this-test"))
        yield ServiceClient(http, tokens, url, "stock", "things:read")


async def call(service: ServiceClient) -> httpx.Response:
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


async def test_a_token_is_fetched_once_and_renewed_before_it_expires(
    service: ServiceClient, neighbour: Neighbour
) -> None:
    await call(service)
    await call(service)
    assert len(neighbour.forms) == 1
    neighbour.expires_in = 30
    hasty = ServiceTokens(service.http, service.base_url, "shop", SecretStr("a-secret-of-this-test"))
    assert await hasty.get("stock", "things:read") != await hasty.get("stock", "things:read")


async def test_tries_again_when_the_other_side_is_away_for_a_moment(
    service: ServiceClient, neighbour: Neighbour
) -> None:
    neighbour.answers = [503, 502]
    assert (await call(service)).status_code == 200
    assert len(neighbour.calls) == 3


async def test_gives_up_after_three_tries(service: ServiceClient, neighbour: Neighbour) -> None:
    neighbour.answers = [503] * 9
    with pytest.raises(DependencyUnavailable):
        await call(service)
    assert len(neighbour.calls) == 3


async def test_a_broken_answer_is_not_asked_for_again(service: ServiceClient, neighbour: Neighbour) -> None:
    neighbour.answers = [500]
    with pytest.raises(DependencyUnavailable):
        await call(service)
    assert len(neighbour.calls) == 1


@pytest.mark.parametrize("status", [404, 409, 422])
async def test_a_refusal_is_the_callers_to_understand(
    service: ServiceClient, neighbour: Neighbour, status: int
) -> None:
    neighbour.answers = [status]
    assert (await call(service)).status_code == status


async def test_nobody_there_is_unavailable() -> None:
    async with httpx.AsyncClient(timeout=1) as http:
        tokens = ServiceTokens(http, "http://127.0.0.1:1", "shop", SecretStr("a-secret-of-this-test"))
        with pytest.raises(DependencyUnavailable):
            await tokens.get("stock", "things:read")


async def test_without_credentials_there_is_no_token() -> None:
    async with httpx.AsyncClient() as http:
        with pytest.raises(DependencyUnavailable, match="SERVICE_CLIENT_SECRET"):
            await ServiceTokens(http, "http://127.0.0.1:1", "shop", None).get("stock", "things:read")

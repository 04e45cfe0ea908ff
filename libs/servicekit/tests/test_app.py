"""A service that is made of nothing but what every service has, called from outside."""

import asyncio
import json
import logging as stdlib_logging
from collections.abc import AsyncIterator
from types import MappingProxyType
from typing import Annotated
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, SecretStr
from servicekit.app import create_service
from servicekit.auth.dependencies import on_behalf_of, public, require
from servicekit.auth.tokens import Principal
from servicekit.database import Session
from servicekit.errors import Conflict, Unavailable
from servicekit.jwks import fetch
from servicekit.logging import LogQueue
from servicekit.schemas import RequestModel
from servicekit.settings import ServiceSettings
from sqlalchemy import text
from testkit.app import client, running
from testkit.databases import Databases
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES

ANN = f"user:{uuid4()}"

logger = stdlib_logging.getLogger("shop")
router = APIRouter()
inside = APIRouter(prefix="/internal/v1")


class TillClosed(Conflict):
    """A failure of this test's own."""


class Order(RequestModel):
    amount: int
    note: str = ""


class Seen(BaseModel):
    tenant_id: UUID | None
    subject: str


@router.get("/seen")
async def seen(caller: Annotated[Principal, require("conversations:read")]) -> Seen:
    logger.info("seen", extra={"colour": "green"})
    return Seen(tenant_id=caller.tenant_id, subject=caller.subject)


@router.post("/orders", dependencies=[public])
async def place_order(order: Order, session: Session) -> dict[str, int]:
    await session.execute(
        text("create table if not exists orders (amount int unique deferrable initially deferred)")
    )
    await session.execute(text("insert into orders values (:amount)"), {"amount": order.amount})
    return {"amount": order.amount}


@router.get("/states/{state}", dependencies=[public])
async def fail_in_postgres(state: str, session: Session) -> None:
    assert state.isalnum()
    await session.execute(text(f"do $$ begin raise sqlstate '{state}'; end $$"))


@router.get("/closed", dependencies=[public])
async def closed() -> None:
    raise TillClosed("The till is closed.", opens_at="09:00")


@router.get("/away", dependencies=[public])
@router.post("/away", dependencies=[public], operation_id="leave")
async def away() -> None:
    raise Unavailable


@router.get("/broken", dependencies=[public])
async def broken() -> None:
    raise KeyError("a detail that nobody should see")


@inside.get("/seen")
async def seen_inside(caller: Annotated[Principal, on_behalf_of("conversations:read")]) -> Seen:
    return Seen(tenant_id=caller.tenant_id, subject=caller.subject)


@pytest.fixture
def settings(databases: Databases, redis_url: str, issuer: Issuer) -> ServiceSettings:
    return ServiceSettings(
        environment="test",
        debug=True,
        database_url=databases.fresh("shop"),
        redis_url=redis_url,
        auth_issuer=issuer.issuer,
        auth_jwks_url=issuer.jwks_url,
    )


@pytest.fixture
async def app(settings: ServiceSettings) -> AsyncIterator[FastAPI]:
    async with running(create_service("shop", settings, routers=[router], internal=[inside])) as app:
        yield app


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client(app) as http:
        yield http


async def test_knows_the_caller_by_the_token(app: FastAPI, issuer: Issuer) -> None:
    tenant = uuid4()
    async with client(app, issuer.token(tenant_id=tenant, subject=ANN, role="viewer")) as http:
        answer = await http.get("/seen")
    assert answer.json() == {"tenant_id": str(tenant), "subject": ANN}


async def test_tells_the_keys_it_knows_so_that_others_may_judge_as_it_does(
    app: FastAPI, http: httpx.AsyncClient, settings: ServiceSettings, issuer: Issuer
) -> None:
    nowhere = settings.model_copy(update={"auth_jwks_url": "http://127.0.0.1:1/jwks.json"})
    async with running(create_service("shop", nowhere)) as without_auth, client(without_auth) as lost:
        answer = await lost.get("/.well-known/jwks.json")
    assert (answer.status_code, answer.json()["code"]) == (503, "key_source_unavailable")

    await app.state.resources.keys.warmup()
    answer = await http.get("/.well-known/jwks.json")

    assert answer.headers["content-type"] == "application/jwk-set+json"
    async with httpx.AsyncClient(verify=NO_AUTHORITIES, timeout=60) as auth:
        source = await auth.get(issuer.jwks_url)
    assert fetch.parse(answer.content, 32) == fetch.parse(source.content, 32)
    await app.state.resources.keys.refresh_now(drop=[issuer.key.kid])
    assert issuer.key.kid not in (await http.get("/.well-known/jwks.json")).text


async def test_knows_on_whose_behalf_a_service_calls(app: FastAPI, issuer: Issuer) -> None:
    token = issuer.service_token("chat-agent", audience="shop", scope="conversations:read")
    tenant = uuid4()
    async with client(app.state.internal, token, **{"Acme-On-Behalf-Of": f"{tenant}/{ANN}"}) as http:
        answer = await http.get("/internal/v1/seen")
    assert answer.json() == {"tenant_id": str(tenant), "subject": ANN}


async def test_the_public_port_has_no_internal_routes(http: httpx.AsyncClient) -> None:
    for path in ("/internal/v1/seen", "/healthz", "/readyz", "/metrics"):
        assert (await http.get(path)).status_code == 404


async def test_the_sentence_of_an_invalid_request_names_the_place(http: httpx.AsyncClient) -> None:
    one = (await http.post("/orders", json={"amount": 1, "extra": 1})).json()
    assert one["detail"] == "extra: Extra inputs are not permitted."
    two = (await http.post("/orders", json={"amount": "many", "extra": 1})).json()
    assert two["detail"].startswith("amount: Input should be a valid ")
    assert two["detail"].endswith(". More of them are in `errors`.")
    nothing = (await http.post("/orders")).json()
    assert nothing["detail"] == "body: Field required."


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "code"),
    [
        ("GET", "/closed", None, 409, "till_closed"),
        ("GET", "/nowhere", None, 404, "not_found"),
        ("DELETE", "/orders", None, 405, "method_not_allowed"),
        ("POST", "/orders", b"{", 400, "malformed_json"),
        ("POST", "/orders", b'{"amount": "many"}', 422, "invalid_request"),
        ("POST", "/orders", b'{"amount": 1, "extra": 1}', 422, "invalid_request"),
        ("POST", "/orders", b'{"amount": 1, "note": "' + b"x" * 1024 * 1024, 413, "payload_too_large"),
        ("GET", "/broken", None, 500, "internal_error"),
        ("GET", "/seen", None, 401, "token_missing"),
    ],
)
async def test_every_failure_is_a_problem(
    http: httpx.AsyncClient, method: str, path: str, content: bytes | None, status: int, code: str
) -> None:
    answer = await http.request(method, path, content=content, headers={"Content-Type": "application/json"})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["type"]) == (status, code, f"urn:acme:{code}")
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert "nobody should see" not in answer.text


async def test_what_is_not_there_is_named(http: httpx.AsyncClient) -> None:
    assert (await http.put("/nowhere?secret=1")).json()["detail"] == "There is no `PUT /nowhere` here."


async def test_an_event_source_comes_again_after_an_outage(http: httpx.AsyncClient) -> None:
    """Of any other status it would not."""
    accept = {"Accept": "text/event-stream"}
    answer = await http.get("/away", headers=accept)
    assert (answer.status_code, answer.text) == (200, ": unavailable\nretry: 3000\n")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert "retry-after" not in answer.headers
    assert (await http.get("/away")).status_code == 503
    assert (await http.post("/away", headers=accept)).status_code == 503
    assert (await http.get("/closed", headers=accept)).status_code == 409


async def test_names_all_methods_of_a_path(http: httpx.AsyncClient) -> None:
    """Of two routes, the framework names the methods of the first."""
    answer = await http.put("/away")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    answer = await http.request("OPTIONS", "/away")
    assert (answer.status_code, answer.headers["allow"], answer.text) == (204, "GET, HEAD, OPTIONS, POST", "")
    assert (await http.request("OPTIONS", "/nothing")).status_code == 404


async def test_a_failure_can_say_more(http: httpx.AsyncClient) -> None:
    assert (await http.get("/closed")).json()["opens_at"] == "09:00"


async def test_what_was_sent_wrongly_is_not_sent_back(http: httpx.AsyncClient) -> None:
    answer = await http.post("/orders", json={"amount": "my-password"})
    assert answer.json()["errors"][0]["loc"] == ["body", "amount"]
    assert "my-password" not in answer.text


async def test_commits_before_it_answers(http: httpx.AsyncClient) -> None:
    assert (await http.post("/orders", json={"amount": 7})).status_code == 200
    # The constraint is deferred: it fails at the commit, so a success that was told before would be a lie.
    again = await http.post("/orders", json={"amount": 7})
    assert (again.status_code, again.json()["code"]) == (500, "internal_error")


async def test_a_well_formed_request_id_is_used_and_another_is_replaced(http: httpx.AsyncClient) -> None:
    answer = await http.get("/closed", headers={"X-Request-Id": "order-42"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "order-42"
    for bad in ("a b", "x" * 129, "semi;colon"):
        answer = await http.get("/closed", headers={"X-Request-Id": bad})
        assert UUID(answer.headers["x-request-id"])


async def test_every_line_of_a_request_tells_whose_it_is(
    app: FastAPI, issuer: Issuer, capsys: pytest.CaptureFixture[str]
) -> None:
    tenant, trace_id = uuid4(), "0af7651916cd43dd8448eb211c80319c"
    token = issuer.token(tenant_id=tenant, subject=ANN, role="viewer")
    sent = {"X-Request-Id": "r1", "traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    async with client(app, token, **sent) as http:
        await http.get("/seen?token=hidden")
    [queue] = [one for one in stdlib_logging.getLogger().handlers if isinstance(one, LogQueue)]
    await asyncio.to_thread(queue.flush)
    captured = capsys.readouterr().out
    printed = [json.loads(line) for line in captured.split("\n") if line.startswith("{")]
    own, response = (
        next(line for line in printed if line["event"] == event) for event in ("seen", "http.response")
    )
    for line in (own, response):
        assert line["correlation_id"] == "r1"
        assert line["tenant_id"] == str(tenant)
        assert line["user_id"] == ANN
        assert line["trace_id"] == trace_id
        assert line["service"] == "shop"
        assert line["level"] == "info"
        assert line["ts"].endswith("Z")
    assert own["colour"] == own["fields"]["colour"] == "green"
    assert response["status_code"] == response["fields"]["status_code"] == 200
    assert response["duration_ms"] > 0
    assert "hidden" not in captured
    assert token not in captured


class ShopSettings(ServiceSettings):
    """Settings that had other variables before."""

    shop_size: int = 1
    replaced_variables = MappingProxyType({"SHOP_*": "SHOP_SIZE", "OLD_KEY": "KEY=new,old"})


async def test_a_variable_that_is_not_read_any_more_is_named_with_what_replaces_it(
    settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("SHOP_SIZE", "SHOP_WIDTH", "OLD_KEY"):
        monkeypatch.setenv(name, "7")
    async with running(create_service("shop", ShopSettings(**settings.model_dump()))):
        pass
    [record] = [one for one in caplog.records if one.message == "variables are not read any more"]
    assert record.replaced_by == {"SHOP_WIDTH": "SHOP_SIZE", "OLD_KEY": "KEY=new,old"}


async def test_ready_names_every_dependency(app: FastAPI) -> None:
    async with client(app.state.internal) as http:
        alive, ready = await http.get("/healthz"), await http.get("/readyz")
    assert alive.json() == {"status": "ok"}
    assert ready.json() == {"status": "ok", "checks": {"database": "ok", "redis": "ok", "keys": "ok"}}


async def test_counts_requests(app: FastAPI, http: httpx.AsyncClient) -> None:
    await http.get("/closed")
    async with client(app.state.internal) as inner:
        metrics = (await inner.get("/metrics")).text
    assert 'http_route="/closed"' in metrics
    assert 'http_response_status_code="409"' in metrics


async def test_a_lost_database_is_a_503_with_retry_after(settings: ServiceSettings) -> None:
    nowhere = SecretStr("postgresql://acme:x@127.0.0.1:1/none")
    lost = settings.model_copy(update={"database_url": nowhere})
    async with running(create_service("shop", lost, routers=[router])) as app, client(app) as http:
        answer = await http.post("/orders", json={"amount": 1})
        async with client(app.state.internal) as inner:
            ready = await inner.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "2"
    assert (ready.status_code, ready.json()["checks"]["redis"]) == (503, "ok")
    assert ready.json()["checks"]["database"] != "ok"


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [
        ("57P01", 503, "unavailable"),  # it stops
        ("53300", 503, "unavailable"),  # it has too many connections
        ("25006", 503, "unavailable"),  # it takes no writes, as after a failover
        ("40001", 503, "unavailable"),  # a standby cancels what stands in the way of its recovery
        ("40P01", 503, "unavailable"),  # a deadlock
        ("22012", 500, "internal_error"),  # a division by zero
    ],
)
async def test_what_may_pass_in_postgres_is_a_503_and_what_may_not_a_500(
    http: httpx.AsyncClient, state: str, status: int, code: str
) -> None:
    answer = await http.get(f"/states/{state}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ("retry-after" in answer.headers) is (status == 503)


def test_refuses_a_route_that_does_not_say_who_may_call_it(settings: ServiceSettings) -> None:
    careless = APIRouter()

    @careless.get("/open")
    async def open_() -> None: ...

    with pytest.raises(Exception, match="/open"):
        create_service("shop", settings, routers=[careless])


def test_the_document_tells_problems_as_they_are(settings: ServiceSettings) -> None:
    document = create_service("shop", settings, routers=[router]).openapi()
    answers = document["paths"]["/orders"]["post"]["responses"]
    assert set(answers) == {"200", "413", "default"}
    assert answers["413"]["description"] == "The body is larger than 64 KiB."
    assert answers["default"]["content"]["application/problem+json"]["schema"]["$ref"].endswith("/Problem")
    assert "HTTPValidationError" not in document["components"]["schemas"]

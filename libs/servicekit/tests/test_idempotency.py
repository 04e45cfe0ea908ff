"""`Idempotency-Key`: one effect and one answer for each key, whoever races, retries or fails."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Form, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import EventSourceResponse
from servicekit.app import create_service
from servicekit.auth.dependencies import on_behalf_of, public, require
from servicekit.auth.tokens import Principal
from servicekit.database import Session
from servicekit.errors import Conflict
from servicekit.idempotency import IdempotentRoute
from servicekit.schemas import RequestModel
from servicekit.settings import ServiceSettings
from sqlalchemy import func, select, text
from testkit.app import client, running
from testkit.issuer import Issuer

Writer = Annotated[Principal, require("conversations:write")]

router = APIRouter(prefix="/orders", route_class=IdempotentRoute)
inside = APIRouter(prefix="/internal/v1", route_class=IdempotentRoute)
# Requests wait here until the test lets them go on, when there is something in it.
gates: dict[int, asyncio.Event] = {}


class SoldOut(Conflict):
    """A failure of this test's own."""


class Order(RequestModel):
    amount: int


@router.post("", status_code=201)
async def place(order: Order, caller: Writer, session: Session, response: Response) -> dict[str, str]:
    order_id = uuid4()
    await session.execute(text("insert into effects values (:amount)"), {"amount": order.amount})
    if gate := gates.get(order.amount):
        await gate.wait()
    if order.amount == 404:
        raise SoldOut("Nothing is left.")
    response.headers["Location"] = f"/orders/{order_id}"
    response.headers["X-Private"] = "1"
    return {"id": str(order_id), "for": caller.subject}


@router.put("/{order_id}")
async def change(order_id: int, order: Order, caller: Writer, session: Session) -> dict[str, int]:
    await session.execute(text("insert into effects values (:amount)"), {"amount": order.amount})
    return {"order_id": order_id}


@router.delete("/{order_id}", status_code=204)
async def cancel(order_id: int, caller: Writer, session: Session) -> None:
    await session.execute(text("insert into effects values (:amount)"), {"amount": order_id})


@router.get("")
async def count(caller: Writer, session: Session) -> int:
    return await session.scalar(text("select count(*) from effects")) or 0


@router.post("/refused")
async def refuse(caller: Writer, session: Session) -> JSONResponse:
    await session.execute(text("insert into effects values (1)"))
    return JSONResponse({"refused": True}, status_code=409)


@router.post("/streamed")
async def stream(caller: Writer, session: Session) -> Response:
    await session.execute(text("insert into effects values (1)"))
    return StreamingResponse(iter([b"1"]))


@router.post("/form", dependencies=[public])
async def fill_in(amount: Annotated[int, Form()], session: Session) -> dict[str, int]:
    await session.execute(text("insert into effects values (:amount)"), {"amount": amount})
    return {"amount": amount}


@inside.post("/orders")
async def place_for(
    order: Order, caller: Annotated[Principal, on_behalf_of("conversations:write")], session: Session
) -> dict[str, str]:
    await session.execute(text("insert into effects values (:amount)"), {"amount": order.amount})
    return {"for": caller.subject}


@pytest.fixture
async def app(bus: Any, bus_url: str, common_settings: dict[str, Any]) -> AsyncIterator[FastAPI]:
    settings = ServiceSettings(**common_settings, database_url=bus_url, database_pool_size=20)
    async with running(create_service("shop", settings, routers=[router], internal=[inside])) as app:
        yield app


def caller(app: FastAPI, issuer: Issuer, tenant: UUID | None = None) -> httpx.AsyncClient:
    return client(app, issuer.token(tenant_id=tenant or uuid4()))


@pytest.fixture
async def ada(app: FastAPI, issuer: Issuer) -> AsyncIterator[httpx.AsyncClient]:
    async with caller(app, issuer) as ada:
        yield ada


def keyed(key: str = "key-1") -> dict[str, str]:
    return {"Idempotency-Key": key}


async def order(who: httpx.AsyncClient, amount: int = 5, key: str = "key-1") -> httpx.Response:
    return await who.post("/orders", json={"amount": amount}, headers=keyed(key))


async def test_a_retry_gets_the_first_answer_and_has_no_effect(ada: httpx.AsyncClient, bus: Any) -> None:
    first, again = await order(ada), await order(ada)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["location"] == first.headers["location"]
    assert "x-private" not in again.headers
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert await bus.effects() == [5]


async def test_without_a_key_every_request_counts(ada: httpx.AsyncClient, bus: Any) -> None:
    for _ in range(2):
        assert (await ada.post("/orders", json={"amount": 5})).status_code == 201
    assert await bus.effects() == [5, 5]


async def test_requests_that_race_have_one_effect(ada: httpx.AsyncClient, bus: Any) -> None:
    gates[5] = asyncio.Event()
    racing = [asyncio.create_task(order(ada)) for _ in range(10)]
    done, _ = await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
    assert {one.result().json()["code"] for one in done} == {"idempotency_in_progress"}
    gates.pop(5).set()
    answers = await asyncio.gather(*racing)
    assert Counter(answer.status_code for answer in answers)[201] >= 1
    assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
    assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 409)
    assert await bus.effects() == [5]
    assert (await order(ada)).headers["idempotent-replayed"] == "true"


async def test_a_key_cannot_be_used_for_another_body(ada: httpx.AsyncClient, bus: Any) -> None:
    await order(ada, 5)
    answer = await order(ada, 6)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")
    assert await bus.effects() == [5]


async def test_a_key_cannot_be_used_for_another_resource_of_the_same_route(
    ada: httpx.AsyncClient, bus: Any
) -> None:
    assert (await ada.put("/orders/1", json={"amount": 5}, headers=keyed())).status_code == 200
    answer = await ada.put("/orders/2", json={"amount": 5}, headers=keyed())
    assert answer.json()["code"] == "idempotency_conflict"
    assert await bus.effects() == [5]


async def test_routes_and_methods_have_keys_of_their_own(ada: httpx.AsyncClient, bus: Any) -> None:
    assert (await order(ada, 5)).status_code == 201
    assert (await ada.put("/orders/1", json={"amount": 5}, headers=keyed())).status_code == 200
    assert (await ada.delete("/orders/1", headers=keyed())).status_code == 204
    again = await ada.delete("/orders/1", headers=keyed())
    assert (again.status_code, again.content) == (204, b"")
    assert again.headers["idempotent-replayed"] == "true"
    assert await bus.effects() == [5, 5, 1]


async def test_callers_and_tenants_have_keys_of_their_own(app: FastAPI, issuer: Issuer, bus: Any) -> None:
    tenant = uuid4()
    person = f"user:{uuid4()}"
    tokens = [
        issuer.token(tenant_id=tenant, subject=person),
        issuer.token(tenant_id=uuid4(), subject=person),
        issuer.token(tenant_id=tenant),
    ]
    for token in tokens:
        async with client(app, token) as who:
            answer = await order(who)
            assert "idempotent-replayed" not in answer.headers
    assert await bus.effects() == [5, 5, 5]


async def test_a_new_token_of_the_same_person_replays(app: FastAPI, issuer: Issuer, bus: Any) -> None:
    tenant, person = uuid4(), f"user:{uuid4()}"
    for replayed in (False, True):
        async with client(app, issuer.token(tenant_id=tenant, subject=person)) as who:
            assert ("idempotent-replayed" in (await order(who)).headers) is replayed
    assert await bus.effects() == [5]


async def test_a_service_acts_for_each_person_with_keys_of_their_own(
    app: FastAPI, issuer: Issuer, bus: Any
) -> None:
    token = issuer.service_token("chat-agent", audience="shop", scope="conversations:write")
    for person in (uuid4(), uuid4()):
        for replayed in (False, True):
            headers = {**keyed(), "Acme-On-Behalf-Of": f"{UUID(int=7)}/user:{person}"}
            async with client(app.state.internal, token) as service:
                answer = await service.post("/internal/v1/orders", json={"amount": 5}, headers=headers)
            assert answer.json() == {"for": f"user:{person}"}
            assert ("idempotent-replayed" in answer.headers) is replayed
    assert await bus.effects() == [5, 5]


async def test_a_failure_is_not_stored_and_leaves_nothing(ada: httpx.AsyncClient, bus: Any) -> None:
    for _ in range(2):
        answer = await order(ada, 404)
        assert (answer.status_code, answer.json()["code"]) == (409, "sold_out")
        assert "idempotent-replayed" not in answer.headers
    assert not await bus.effects()
    assert (await order(ada, 5)).status_code == 201


async def test_an_error_response_is_not_stored_either(ada: httpx.AsyncClient, bus: Any) -> None:
    for _ in range(2):
        answer = await ada.post("/orders/refused", headers=keyed())
        assert (answer.status_code, answer.json()) == (409, {"refused": True})
    assert not await bus.effects()


async def test_an_invalid_body_is_refused_and_does_not_use_up_the_key(
    ada: httpx.AsyncClient, bus: Any
) -> None:
    assert (await ada.post("/orders", json={"amount": "many"}, headers=keyed())).status_code == 422
    broken = {**keyed(), "Content-Type": "application/json"}
    assert (await ada.post("/orders", content=b"{", headers=broken)).status_code == 400
    assert (await order(ada)).status_code == 201


@pytest.mark.parametrize("key", ["", " ", "two words", "tab\there", "k" * 256, "ключ".encode()])
async def test_a_key_is_visible_ascii(ada: httpx.AsyncClient, bus: Any, key: str | bytes) -> None:
    raw = key if isinstance(key, bytes) else key.encode()
    answer = await ada.post("/orders", json={"amount": 5}, headers=[(b"Idempotency-Key", raw)])
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")
    assert not await bus.effects()


@pytest.mark.parametrize("key", ["k", "k" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "!~"])
async def test_any_visible_ascii_is_a_key(ada: httpx.AsyncClient, bus: Any, key: str) -> None:
    assert (await order(ada, key=key)).status_code == 201
    assert (await order(ada, key=key)).headers["idempotent-replayed"] == "true"


async def test_safe_methods_take_no_notice_of_a_key(ada: httpx.AsyncClient) -> None:
    assert (await ada.get("/orders", headers=keyed())).json() == 0
    await order(ada)
    answer = await ada.get("/orders", headers=keyed())
    assert answer.json() == 1
    assert "idempotent-replayed" not in answer.headers


async def test_nothing_is_replayed_to_those_who_are_not_let_in(
    app: FastAPI, issuer: Issuer, ada: httpx.AsyncClient, bus: Any
) -> None:
    await order(ada)
    async with client(app) as stranger, client(app, "not.a.token") as forger:
        assert (await order(stranger)).status_code == 401
        assert (await order(forger)).status_code == 401
    assert await bus.effects() == [5]


async def test_a_public_route_has_keys_too_and_forms_are_bodies(app: FastAPI, bus: Any) -> None:
    async with client(app) as anyone:
        for replayed in (False, True):
            answer = await anyone.post("/orders/form", data={"amount": "3"}, headers=keyed())
            assert answer.json() == {"amount": 3}
            assert ("idempotent-replayed" in answer.headers) is replayed
        other = await anyone.post("/orders/form", data={"amount": "4"}, headers=keyed())
    assert other.json()["code"] == "idempotency_conflict"
    assert await bus.effects() == [3]


async def test_a_response_is_stored_for_a_day(ada: httpx.AsyncClient, bus: Any) -> None:
    first = await order(ada)
    async with bus.database.begin() as session:
        hours = select(func.extract("epoch", text("expires_at - now()")) / 3600).select_from(
            text("idempotency_keys")
        )
        assert 23.9 < float(await session.scalar(hours)) <= 24
        await session.execute(text("update idempotency_keys set expires_at = now() - interval '1 second'"))
    later = await order(ada)
    assert later.json() != first.json()
    assert (await order(ada)).json() == later.json()
    assert await bus.effects() == [5, 5]


async def test_a_key_is_not_stored_in_plain_text(ada: httpx.AsyncClient, bus: Any) -> None:
    await order(ada, key="find-me")
    async with bus.database.begin() as session:
        stored = await session.scalar(text("select idempotency_keys::text from idempotency_keys"))
    assert "find-me" not in stored
    assert b"find-me".hex() not in stored


async def test_the_effect_is_rolled_back_when_the_response_cannot_be_stored(
    ada: httpx.AsyncClient, bus: Any
) -> None:
    assert (await ada.post("/orders/streamed", headers=keyed())).status_code == 500
    assert not await bus.effects()
    assert (await ada.post("/orders/streamed")).status_code == 200


async def events() -> AsyncIterator[str]:
    yield ""


@pytest.mark.parametrize(
    "options", [{"response_class": StreamingResponse}, {"response_class": EventSourceResponse}, {}]
)
def test_a_streaming_route_cannot_be_idempotent(options: dict[str, Any]) -> None:
    streams = APIRouter(route_class=IdempotentRoute)
    with pytest.raises(TypeError, match="streaming"):
        streams.post("/stream", **options)(events)


async def test_the_header_is_documented_where_it_has_a_meaning(app: FastAPI) -> None:
    paths = app.openapi()["paths"]

    def headers(path: str, method: str) -> list[str]:
        return [one["name"] for one in paths[path][method].get("parameters", []) if one["in"] == "header"]

    assert "Idempotency-Key" in headers("/orders", "post")
    assert "Idempotency-Key" in headers("/orders/{order_id}", "put")
    assert "Idempotency-Key" not in headers("/orders", "get")

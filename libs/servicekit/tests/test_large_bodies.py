"""Bodies of more than 1 MiB: checked, parsed off the event loop, and only a few at a time."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel
from servicekit import large_bodies
from servicekit.app import Resources, create_service
from servicekit.auth.dependencies import public
from servicekit.request_limits import KIB, LARGE_BODY
from servicekit.settings import ServiceSettings
from testkit.app import client, running

LIMIT = 4 * 1024 * KIB
JSON = {"Content-Type": "application/json"}
router = APIRouter(dependencies=[public], route_class=large_bodies.LargeBodyRoute, max_body_size=LIMIT)


class Note(BaseModel):
    text: str = ""
    more: Any = None


@router.post("/notes")
async def note(body: Note) -> int:
    return len(body.text)


@pytest.fixture
def variables(databases: Any, common_settings: dict[str, Any]) -> dict[str, Any]:
    return {**common_settings, "database_url": databases.fresh("notes")}


@pytest.fixture
async def app(variables: dict[str, Any]) -> AsyncIterator[FastAPI]:
    app = create_service("notes", ServiceSettings(**variables), routers=[router])
    async with running(app):
        yield app


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client(app) as http:
        yield http


def resources(app: FastAPI) -> Resources:
    found: Resources = app.state.resources
    return found


@pytest.mark.parametrize("size", [LARGE_BODY - 20, LARGE_BODY, LIMIT - 20])
async def test_reads_what_the_route_takes(http, size):
    answer = await http.post("/notes", json={"text": "x" * size})
    assert (answer.status_code, answer.json()) == (200, size)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"more": [' + b"1," * 1_000_000 + b"1]}", 400, "body_too_complex"),
        (b'{"more": ' + b"[" * 700_000 + b"]" * 700_000 + b"}", 400, "body_too_complex"),
        (b'{"text": "' + b"x" * LARGE_BODY + b"\0" + b'"}', 400, "malformed_json"),
        (b'{"text": "' + b"x" * LARGE_BODY, 400, "malformed_json"),
        (b'{"text": "' + b"x" * LIMIT + b'"}', 413, "payload_too_large"),
    ],
    ids=["wide", "deep", "nul", "cut off", "too large"],
)
async def test_refuses_a_large_body_as_a_small_one(http, app, body, status, code):
    answer = await http.post("/notes", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert resources(app).large_bodies._value == large_bodies.MAX_AT_ONCE


async def test_holds_a_few_at_a_time_and_reads_the_others_when_there_is_room(http, app, monkeypatch):
    slots = resources(app).large_bodies
    for _ in range(large_bodies.MAX_AT_ONCE):
        await slots.acquire()
    small = await http.post("/notes", json={"text": "x"})
    assert small.status_code == 200

    waiting = asyncio.create_task(http.post("/notes", json={"text": "x" * LARGE_BODY}))
    await asyncio.sleep(0)
    slots.release()
    assert (await waiting).json() == LARGE_BODY

    await slots.acquire()
    monkeypatch.setattr(large_bodies, "READ_SECONDS", 0.01)
    refusal = await http.post("/notes", content=json.dumps({"text": "x" * LARGE_BODY}), headers=JSON)
    assert (refusal.status_code, refusal.json()["code"]) == (429, "large_body_capacity_exceeded")
    assert refusal.headers["retry-after"] == "1"


async def test_a_limited_number_wait(http, app, monkeypatch):
    monkeypatch.setattr(large_bodies, "MAX_WAITING", 2)
    slots = resources(app).large_bodies
    for _ in range(large_bodies.MAX_AT_ONCE):
        await slots.acquire()
    body = {"text": "x" * LARGE_BODY}
    first = [asyncio.create_task(http.post("/notes", json=body)) for _ in range(3)]
    [refused], waiting = await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    assert (refused.result().status_code, refused.result().json()["code"]) == (
        429,
        "large_body_capacity_exceeded",
    )
    assert refused.result().headers["retry-after"] == "1"
    for _ in range(large_bodies.MAX_AT_ONCE):
        slots.release()
    assert [(await one).status_code for one in waiting] == [200, 200]


def test_a_route_with_a_large_limit_must_read_large_bodies(variables):
    plain = APIRouter(dependencies=[public])
    plain.post("/notes", max_body_size=LIMIT)(note)
    with pytest.raises(TypeError, match="LargeBodyRoute"):
        create_service("notes", ServiceSettings(**variables), routers=[plain])

"""What one request may carry, and that requests which make no sense are counted."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Form
from servicekit import request_limits
from servicekit.app import create_service
from servicekit.auth.dependencies import public
from servicekit.request_limits import MAX_DEPTH, MAX_VALUES, BodyTooComplex, MalformedJson
from servicekit.schemas import MAX_MEMBERS, RequestModel
from servicekit.settings import ServiceSettings
from testkit.app import client, running

JSON = {"Content-Type": "application/json"}
router = APIRouter(dependencies=[public])


class Note(RequestModel):
    text: str = ""
    more: Any = None


@router.post("/notes")
async def note(body: Note) -> int:
    return len(body.text)


@router.post("/small", max_body_size=100)
async def small(body: Note) -> int:
    return len(body.text)


@router.post("/form")
async def fill_in(name: Annotated[str, Form()]) -> str:
    return name


@router.get("/notes")
async def look() -> None: ...


@pytest.fixture
def variables(databases: Any, common_settings: dict[str, Any]) -> dict[str, Any]:
    return {**common_settings, "database_url": databases.fresh("notes")}


@asynccontextmanager
async def started(variables: dict[str, Any], **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    app: FastAPI = create_service("notes", ServiceSettings(**{**variables, **changes}), routers=[router])
    async with running(app), client(app) as http:
        yield http


@pytest.fixture
async def http(variables: dict[str, Any]) -> AsyncIterator[httpx.AsyncClient]:
    async with started(variables) as http:
        yield http


def status_and_code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


HARMLESS = [
    b"",
    b"null",
    b'"' + b"[{,:" * 50_000 + b'"',
    rb'"' + rb"\"[{\\" * 50_000 + b'"',
    b"[" * MAX_DEPTH + b"]" * MAX_DEPTH,
    b"[" + b",".join([b"[]"] * (MAX_VALUES // 2 - 1)) + b"]",
    b"[" + b",".join([b'{"a":"b,c"}'] * (MAX_VALUES // 2 - 1)) + b"]",
    # Not JSON, and no more work for the parser that finds that out.
    b'"' * 1000,
    b'["a\\"',
]
TOO_COMPLEX = [
    b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
    b"[" + b",".join([b"1"] * (MAX_VALUES + 1)) + b"]",
    b"[" + b",".join([b'""'] * (MAX_VALUES * 3)) + b"]",
    # What looks like the end of a string is none.
    rb'["\\",' + b"[" * (MAX_DEPTH + 1),
    rb'["\"",' + b"[" * (MAX_DEPTH + 1),
]


@pytest.mark.parametrize("body", HARMLESS, ids=range(len(HARMLESS)))
def test_lets_through_what_has_few_values(body: bytes) -> None:
    request_limits.check_json(body)


@pytest.mark.parametrize("body", TOO_COMPLEX, ids=range(len(TOO_COMPLEX)))
def test_refuses_what_has_many_values_or_is_deep(body: bytes) -> None:
    with pytest.raises(BodyTooComplex):
        request_limits.check_json(body)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_takes_no_other_encoding_than_utf_8(encoding: str) -> None:
    # In UTF-16 the sign "for all" has the byte of a quotation mark, and would hide what follows.
    with pytest.raises(MalformedJson):
        request_limits.check_json(('["\u2200", ' + "[" * 1000 + "]" * 1000 + "]").encode(encoding))


async def test_a_body_has_the_limit_of_its_route(http: httpx.AsyncClient) -> None:
    def body(size: int) -> bytes:
        return json.dumps({"text": "x" * (size - len('{"text": ""}'))}).encode()

    async def chunked(size: int) -> AsyncIterator[bytes]:
        for start in range(0, size, 50):
            yield body(size)[start : start + 50]

    for path, limit in (("/small", 100), ("/notes", request_limits.DEFAULT_BODY)):
        for sent in (body(limit), chunked(limit)):
            assert (await http.post(path, content=sent, headers=JSON)).status_code == 200
        for sent in (body(limit + 1), chunked(limit + 1)):
            answer = await http.post(path, content=sent, headers=JSON)
            assert status_and_code(answer) == (413, "payload_too_large")
            assert answer.headers["content-type"] == "application/problem+json"


async def test_a_head_has_limits_too(http: httpx.AsyncClient) -> None:
    for query in ("q=" + "x" * request_limits.MAX_QUERY_BYTES, "&".join("a" * 101), "&" * 200):
        assert status_and_code(await http.get(f"/notes?{query}")) == (414, "query_too_long")
    many = {f"x-{number}": "1" for number in range(request_limits.MAX_HEADERS + 1)}
    for headers in (many, {"x": "y" * request_limits.MAX_HEADER_BYTES}):
        assert status_and_code(await http.get("/notes", headers=headers)) == (431, "headers_too_large")
    assert (await http.get("/notes?" + "&".join("a" * 100))).status_code == 200


async def test_a_form_has_few_fields(http: httpx.AsyncClient) -> None:
    fields = {f"f{number}": "1" for number in range(request_limits.MAX_FORM_FIELDS)}
    assert (await http.post("/form", data={**fields, "name": "x"})).status_code == 400
    assert (await http.post("/form", data={"f0": "1", "name": "x"})).json() == "x"
    assert (await http.post("/form", files={"name": b"x"})).status_code == 400


@pytest.mark.parametrize("name", ["x", "x" * 600, "\x01" * 600, "\U0001f600" * 600, "\ud800"])
async def test_an_error_answer_is_small(http: httpx.AsyncClient, name: str) -> None:
    for number in (1, MAX_MEMBERS - 1, MAX_MEMBERS + 1):
        body = json.dumps({f"{name}{index}": 1 for index in range(number)})
        answer = await http.post(
            "/notes", content=body[:60_000] if len(body) > 60_000 else body, headers=JSON
        )
        assert answer.status_code in {400, 422}
        assert len(answer.content) <= 4096
        assert answer.json()["errors"]


async def test_many_members_are_one_error(http: httpx.AsyncClient) -> None:
    answer = await http.post("/notes", json={f"u{index}": 1 for index in range(MAX_MEMBERS + 1)})
    assert [error["type"] for error in answer.json()["errors"]] == ["too_many_members"]


INVALID = [b"{", b"[]", b"[" * 1000, b"x" * 100_000, b'{"text": 1}']


@pytest.mark.parametrize("body", INVALID, ids=range(len(INVALID)))
async def test_invalid_requests_are_counted_by_address(variables: dict[str, Any], body: bytes) -> None:
    async with started(variables, invalid_requests_per_minute=2) as http:

        async def send(content: bytes, address: str = "203.0.113.7") -> httpx.Response:
            headers = {**JSON, "X-Forwarded-For": address}
            return await http.post("/notes", content=content, headers=headers)

        assert [(await send(body)).is_client_error for _ in range(2)] == [True, True]
        refused = await send(body)
        assert status_and_code(refused) == (429, "rate_limited")
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.headers["X-Request-Id"]
        # Others behind the same address go on, and so do other addresses.
        assert (await send(b"{}")).status_code == 200
        assert (await send(body, "203.0.113.8")).status_code in {400, 413, 422}


async def test_without_redis_each_process_counts(variables: dict[str, Any]) -> None:
    away = {"redis_url": "redis://127.0.0.1:9/0", "invalid_requests_per_minute": 2}
    async with started(variables, **away) as http:
        statuses = [(await http.post("/notes", content=b"[]", headers=JSON)).status_code for _ in range(3)]
        assert statuses == [422, 422, 429]
        assert (await http.post("/notes", json={})).status_code == 200

"""Compressed bodies: read within the limits of what they become, at the cost of no more than those."""

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from hypothesis import given
from hypothesis import strategies as st
from servicekit.app import create_service
from servicekit.auth.dependencies import public
from servicekit.content_encoding import MalformedGzip, decoded
from servicekit.schemas import RequestModel
from servicekit.settings import ServiceSettings
from testkit.app import client, running

KIB = 1024
JSON = {"Content-Type": "application/json"}
GZIP = {**JSON, "Content-Encoding": "gzip"}
NOTE = json.dumps({"text": "Grüße"}).encode()
router = APIRouter(dependencies=[public])


class Note(RequestModel):
    text: str = ""


@router.post("/notes")
async def write_note(note: Note) -> str:
    return note.text


@pytest.fixture
def settings(databases: Any, common_settings: dict[str, Any]) -> ServiceSettings:
    return ServiceSettings(
        **common_settings,
        database_url=databases.fresh("notes"),
        invalid_requests_per_minute=1000,
    )


@pytest.fixture
async def http(settings: ServiceSettings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_service("notes", settings, routers=[router])) as app, client(app) as http:
        yield http


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", " gzip "])
async def test_reads_gzip(http: httpx.AsyncClient, encoding: str) -> None:
    headers = {**JSON, "Content-Encoding": encoding}
    answer = await http.post("/notes", content=gzip.compress(NOTE), headers=headers)
    assert (answer.status_code, answer.json()) == (200, "Grüße")


@pytest.mark.parametrize("encoding", ["", "identity"])
async def test_reads_what_is_not_compressed(http: httpx.AsyncClient, encoding: str) -> None:
    answer = await http.post("/notes", content=NOTE, headers={**JSON, "Content-Encoding": encoding})
    assert (answer.status_code, answer.json()) == (200, "Grüße")


@pytest.mark.parametrize("encoding", ["zstd", "br", "deflate", "gzip, gzip", "gzip, br", "x"])
async def test_says_what_it_reads_instead(http: httpx.AsyncClient, encoding: str) -> None:
    answer = await http.post("/notes", content=b"x", headers={**JSON, "Content-Encoding": encoding})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_content_encoding")
    assert answer.headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        NOTE,
        gzip.compress(NOTE)[:-1],
        gzip.compress(NOTE) + b"x",
        gzip.compress(NOTE) * 2,
        gzip.compress(NOTE)[:-8] + b"\0" * 8,
        zlib.compress(NOTE),
    ],
    ids=["empty", "short", "plain", "cut off", "goes on", "twice", "wrong checksum", "zlib"],
)
async def test_refuses_what_is_no_gzip(http: httpx.AsyncClient, body: bytes) -> None:
    answer = await http.post("/notes", content=body, headers=GZIP)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_gzip")


async def test_counts_what_it_becomes(http: httpx.AsyncClient) -> None:
    fits, larger = (json.dumps({"text": "x" * size}).encode() for size in (60 * KIB, 64 * KIB))
    assert (await http.post("/notes", content=gzip.compress(fits), headers=GZIP)).status_code == 200
    answer = await http.post("/notes", content=gzip.compress(larger), headers=GZIP)
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


async def test_a_bomb_takes_no_more_room_than_the_limit(http: httpx.AsyncClient) -> None:
    deflater = zlib.compressobj(9, wbits=31)
    zeros = b" " * 2**20
    bomb = b"".join([*(deflater.compress(zeros) for _ in range(60)), deflater.flush()])
    assert len(bomb) < 64 * KIB
    tracemalloc.start()
    try:
        answer = await http.post("/notes", content=bomb, headers=GZIP)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.status_code == 413
    assert peak < 2**20


async def read(parts: list[bytes]) -> bytes:
    """Read a compressed body that comes in parts."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append({"type": "http.request"})
    queue = iter(messages)

    async def receive() -> Any:
        return next(queue)

    receive_plain = decoded({"headers": [(b"content-encoding", b"gzip")]}, receive)
    body = b""
    while True:
        message = await receive_plain()
        body += message["body"]
        if not message["more_body"]:
            return body


@given(
    body=st.binary(max_size=300), factor=st.integers(1, 2000), cuts=st.lists(st.integers(0, 400), max_size=6)
)
def test_it_does_not_matter_how_it_is_cut(body: bytes, factor: int, cuts: list[int]) -> None:
    compressed = gzip.compress(body * factor)
    edges = sorted({0, *(min(cut, len(compressed)) for cut in cuts), len(compressed)})
    parts = [compressed[start:end] for start, end in pairwise(edges)]
    assert asyncio.run(read(parts)) == body * factor
    with pytest.raises(MalformedGzip):
        asyncio.run(read([*parts, b"x"]))
    with pytest.raises(MalformedGzip):
        asyncio.run(read([compressed[:-1]]))

"""What HTTP asks of every route of every service: HEAD, schemes in any case, compressed bodies."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI
from servicekit.auth.dependencies import every_route
from testkit.contract_documents import app_of, services

UUID = "00000000-0000-4000-8000-000000000000"
# They differ from one answer to the next.
CHANGING = {"x-request-id", "date"}
# Ask what is not there in this test; answered, if at all, as any other.
PROBES = {"/readyz", "/metrics"}

each_port = pytest.mark.parametrize("port", ["public", "internal"])
each_service = pytest.mark.parametrize("service", services())


def app_at(service: str, port: str) -> FastAPI:
    app = app_of(service)
    return app if port == "public" else app.state.internal


def paths(app: FastAPI, method: str) -> Iterator[str]:
    """Yield a path of every route that has a method."""
    for route in every_route(app.routes):
        if method in (route.methods or ()) and route.path not in PROBES:
            yield re.sub(r"{\w+(:\w+)?}", UUID, route.path)


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def paths_with_client(
    service: str, port: str, method: str
) -> AsyncIterator[tuple[str, httpx.AsyncClient]]:
    """Yield a path of every route of a service that has a method, and a client of the service."""
    app = app_at(service, port)
    async with client_of(app) as client:
        for path in paths(app, method):
            yield path, client


@each_port
@each_service
async def test_head_is_answered_as_get_without_a_body(service: str, port: str) -> None:
    async for path, client in paths_with_client(service, port, "GET"):
        get, head = await client.get(path), await client.request("HEAD", path)
        assert (head.status_code, head.content) == (get.status_code, b""), path
        assert get.status_code != 405
        seen, expected = (
            {name: value for name, value in answer.headers.items() if name not in CHANGING}
            for answer in (head, get)
        )
        assert seen == expected, path


@each_port
@each_service
async def test_allow_names_head_beside_get(service: str, port: str) -> None:
    async for path, client in paths_with_client(service, port, "GET"):
        allowed = (await client.request("TRACE", path)).headers["allow"].split(", ")
        assert {"GET", "HEAD"} <= set(allowed), path


@each_port
@each_service
async def test_the_scheme_of_a_token_is_taken_in_any_case(service: str, port: str) -> None:
    async for path, client in paths_with_client(service, port, "GET"):
        codes = {
            (await client.get(path, headers={"Authorization": f"{scheme} a.b.c"})).status_code
            for scheme in ("Bearer", "bearer", "BEARER", "bEARER")
        }
        assert len(codes) == 1, (path, codes)
        missing = await client.get(path)
        if missing.status_code == 401:
            refused = await client.get(path, headers={"Authorization": "BEARER a.b.c"})
            assert "invalid_token" in refused.text, path


@each_port
@each_service
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_body_in_another_coding_is_refused_with_what_is_read(
    service: str, port: str, method: str
) -> None:
    async for path, client in paths_with_client(service, port, method):
        answer = await client.request(method, path, headers={"Content-Encoding": "zstd"}, content=b"x")
        assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "gzip"), path
        assert "unsupported_content_encoding" in answer.text

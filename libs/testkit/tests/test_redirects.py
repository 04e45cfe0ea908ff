"""No answer of a service leads to another scheme or host, whatever host a request names."""

import re
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from servicekit.auth.dependencies import every_route
from testkit.contract_documents import app_of, services

FOREIGN = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "ftp"}
UUID = "00000000-0000-4000-8000-000000000000"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def takes_slashes(app: FastAPI, path: str) -> bool:
    """Return whether a path is one of a route with a parameter that may have slashes in it."""
    prefixes = [
        route.path.partition("{")[0] for route in every_route(app.routes) if ":path}" in (route.path or "")
    ]
    return path.startswith(tuple(prefixes))


def respelled(app: FastAPI) -> Iterator[str]:
    """Return every path of an app with a trailing slash added or removed."""
    known = {route.path for route in every_route(app.routes) if route.path}
    for path in sorted(known | {app.openapi_url or "/", app.docs_url or "/"}):
        filled = re.sub(r"{\w+(:\w+)?}", UUID, path)
        yield filled.removesuffix("/") if filled.endswith("/") else f"{filled}/"


@pytest.mark.parametrize("port", ["public", "internal"])
@pytest.mark.parametrize("service", services())
async def test_a_path_with_another_slash_is_not_found_and_redirects_nowhere(service: str, port: str) -> None:
    app = app_of(service)
    if port == "internal":
        app = app.state.internal
    paths = [path for path in respelled(app) if path and not takes_slashes(app, path)]
    assert paths
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=FOREIGN) as client:
        for path in paths:
            for method in METHODS:
                answer = await client.request(method, path)
                assert "location" not in answer.headers, (method, path, answer.headers["location"])
                assert answer.status_code == 404, (method, path)
                # Not the content type: /v1 answers in OpenAI's format.
                assert method == "HEAD" or "not_found" in answer.text, (method, path, answer.text)

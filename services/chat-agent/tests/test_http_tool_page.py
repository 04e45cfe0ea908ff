"""The page about HTTP tools does what it says: its requests, against a server of a tenant."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from chat_agent.settings import Settings

from .tenant_server import TenantServer, tenant_server

PAGE = Path(__file__).parents[3] / "docs" / "howto" / "add-an-http-tool.md"
REQUEST = re.compile(r"""^curl -X (\w+) "\$ACME(\S+)" .*? -d '(.*?)'$""", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def server() -> Iterator[TenantServer]:
    with tenant_server() as server:
        yield server


@pytest.fixture(scope="module")
def settings(settings: Settings, server: TenantServer) -> Settings:
    return settings.model_copy(update={"tool_private_hosts": frozenset({urlsplit(server.url).netloc})})


def test_an_agent_calls_the_tool_of_the_page(person, server: TenantServer) -> None:
    admin: httpx.Client = person(uuid4(), role="admin")
    requests = REQUEST.findall(PAGE.read_text())
    assert len(requests) == 5
    for method, path, body in requests:
        content = body.replace("https://orders.example.com", server.url)
        response = admin.request(method, path, content=content, headers={"Content-Type": "application/json"})
        assert response.status_code == 200, response.text
    assert '"status":"shipped"' in response.json()["response"]
    ((method, target, headers, _),) = server.requests
    assert (method, target) == ("GET", "/orders/A-17?region=eu")
    assert headers["authorization"] == "Bearer the-key-that-the-shop-expects"
    (call,) = admin.get(f"/api/v1/runs/{response.json()['run_id']}/tool-calls").json()
    assert (call["name"], call["status"], call["arguments"]) == (
        "read_order",
        "completed",
        '{"order_id": "A-17"}',
    )

"""The how-to pages do what they say: their requests, in order, against servers of a tenant."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from chat_agent.settings import Settings
from testkit.live_server import serving

from .mcp_server import ECHO, StatelessServer
from .tenant_server import TenantServer, tenant_server

PAGES = Path(__file__).parents[3] / "docs" / "howto"
# With a body, or in one line without.
REQUEST = re.compile(
    r"""^curl -X (\w+) "\$ACME(\S+)" (?:-H "[^"\n]*"$|.*?(?:\\\n +)?-d '(.*?)'$)""", re.MULTILINE | re.DOTALL
)
WITH_REQUESTS = [page.name for page in sorted(PAGES.glob("*.md")) if "$ACME" in page.read_text()]


@pytest.fixture(scope="module")
def server() -> Iterator[TenantServer]:
    with tenant_server() as server:
        yield server


@pytest.fixture(scope="module")
def mcp_url() -> Iterator[str]:
    shop = StatelessServer()
    shop.tools = [{**ECHO, "name": name} for name in ("find_order", "refund")]
    with serving(shop.app) as url:
        yield url


@pytest.fixture(scope="module")
def settings(settings: Settings, server: TenantServer, mcp_url: str) -> Settings:
    hosts = frozenset(urlsplit(url).netloc for url in (server.url, mcp_url))
    return settings.model_copy(update={"tool_private_hosts": hosts})


@pytest.fixture
def admin(person) -> httpx.Client:
    return person(uuid4(), role="admin")


def requests_of(page: str) -> list[tuple[str, str, str]]:
    text = (PAGES / page).read_text()
    requests = REQUEST.findall(text)
    assert len(requests) == text.count('"$ACME')
    return requests


def send(client: httpx.Client, method: str, path: str, body: str) -> httpx.Response:
    response = client.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 200, response.text
    return response


@pytest.mark.parametrize("page", WITH_REQUESTS)
def test_a_page_says_where_its_variables_come_from(page: str) -> None:
    text = (PAGES / page).read_text()
    assert [name for name in ("ACME", "TOKEN") if f"`${name}`" not in text] == []


def test_an_agent_calls_the_tool_of_the_page(admin: httpx.Client, server: TenantServer) -> None:
    requests = requests_of("add-an-http-tool.md")
    assert len(requests) == 5
    for method, path, body in requests:
        response = send(admin, method, path, body.replace("https://orders.example.com", server.url))
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


def test_an_agent_is_written_published_and_replaced_by_way_of_a_canary(admin: httpx.Client) -> None:
    answers = [send(admin, *request).json() for request in requests_of("agents-as-data.md")]
    first, canary, stable = (one for one in answers if "stable" in one)
    assert (first["stable"]["version"], first["canary"]) == (1, None)
    assert (canary["stable"]["version"], canary["canary"]["version"], canary["canary"]["percentage"]) == (
        1,
        2,
        10,
    )
    assert (stable["stable"]["version"], stable["canary"]) == (2, None)


def test_the_tools_of_an_mcp_server_are_registered_and_confirmed(admin: httpx.Client, mcp_url: str) -> None:
    secret, server, refresh, confirmation, _sign_in = requests_of("connect-an-mcp-server.md")
    send(admin, *secret)
    method, path, body = server
    shop = send(admin, method, path, body.replace("https://mcp.shop.example", mcp_url)).json()
    assert [tool["name"] for tool in shop["tools"]] == ["find_order", "refund"]
    assert send(admin, *refresh).json()["changes"] == []
    method, path, body = confirmation
    assert (
        send(admin, method, path, body.replace("sha256:…", shop["tools_digest"])).json()["state"]
        == "confirmed"
    )

"""Service accounts: how the issue of a credential fails."""

from pathlib import Path

import pytest
from sandbox.processes import free_port
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starter_cli import service_accounts
from starter_cli.errors import Failure
from starter_cli.paths import DataDir, Layout
from testkit.live_server import serving


async def sign_in(_request: Request) -> Response:
    return JSONResponse({"access_token": "a.b.c", "tenant_id": "t"})


async def transit(_request: Request) -> Response:
    return JSONResponse({"data": {"signature": "vault:v1:c2ln"}})


async def unavailable(_request: Request) -> Response:
    return Response("upstream connect error", 503, media_type="text/plain")


STACK = Starlette(
    routes=[
        Route("/api/v1/auth/token", sign_in, methods=["POST"]),
        Route("/api/v1/auth/service-accounts/issue", unavailable, methods=["POST"]),
        Route("/vault/{path:path}", transit, methods=["POST"]),
    ]
)


def issue(folder: Path, port: int) -> str:
    """Issue a credential at a stack whose gateway and sandbox have this port."""
    layout = Layout(DataDir(folder), {"gateway": port, "sandbox": port}, {"owner-password": "p"})
    return service_accounts.issue(layout, "demo-application", ["conversations:read"], 60)


@pytest.fixture(autouse=True)
def _no_other_vault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAULT_ADDR", raising=False)


def test_an_error_that_is_not_json_is_reported(tmp_path: Path) -> None:
    with serving(STACK) as url, pytest.raises(Failure, match="answered 503: upstream connect error"):
        issue(tmp_path, int(url.rpartition(":")[2]))


def test_a_gateway_that_does_not_answer_is_reported(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"does not answer: .*\. Check the address, and that Acme runs there"):
        issue(tmp_path, free_port())

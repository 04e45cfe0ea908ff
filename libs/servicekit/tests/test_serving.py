"""A service as a process: it is ready when its public port answers, and not before."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from sandbox.embedded import free_port
from servicekit.server import Server
from testkit.eventually import MAX_START_SECONDS, until
from testkit.live_server import NO_AUTHORITIES

PROGRAM = """
import asyncio, contextlib, gc, pathlib
BEFORE = gc.get_threshold()
from fastapi import APIRouter
from servicekit.app import create_service
from servicekit.server import serve
from servicekit.auth.dependencies import public
from servicekit.settings import ServiceSettings

@contextlib.asynccontextmanager
async def slowly(resources):
    while not pathlib.Path("go").exists():
        await asyncio.sleep(0.02)
    yield

router = APIRouter(dependencies=[public])

@router.get("/slow")
async def slow() -> str:
    pathlib.Path("asked").touch()
    while not pathlib.Path("answer").exists():
        await asyncio.sleep(0.02)
    return "done"

@router.get("/collection")
async def collection() -> list[bool]:
    return [STARTING > BEFORE, gc.get_threshold() == BEFORE]

STARTING = gc.get_threshold()
serve(create_service("notification", ServiceSettings(), routers=[router], lifespan=slowly))
"""


@pytest.fixture
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture
def process(
    migrated: Callable[[str], str], redis_url: str, ports: tuple[int, int], tmp_path: Path, auth_url: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A service whose start waits for a file `go`, and whose answer waits for a file `answer`."""
    environment = {
        "PATH": os.defpath,
        "ENVIRONMENT": "test",
        "DEBUG": "true",
        "LOGGING_SINK": "none",
        "DATABASE_URL": migrated("notification"),
        "REDIS_URL": redis_url,
        "AUTH_ISSUER": auth_url,
        "AUTH_JWKS_URL": f"{auth_url}/.well-known/jwks.json",
        "AUTH_INTERNAL_URL": auth_url,
        "SERVICE_CLIENT_SECRET": "of this test",
        "HOST": "127.0.0.1",
        "PORT": str(ports[0]),
        "INTERNAL_PORT": str(ports[1]),
    }
    started = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment)
    yield started
    started.kill()
    started.wait()


def readiness(port: int) -> dict[str, str]:
    try:
        checks: dict[str, str] = httpx.get(
            f"http://127.0.0.1:{port}/readyz", trust_env=False, verify=NO_AUTHORITIES, timeout=60
        ).json()["checks"]
    except httpx.TransportError:
        return {}
    return checks


def test_a_service_is_ready_only_while_its_public_port_answers(
    process: subprocess.Popen[bytes], ports: tuple[int, int], tmp_path: Path
) -> None:
    public, internal = ports
    until(lambda: readiness(internal), MAX_START_SECONDS)
    assert readiness(internal)["server"] == "ServerNotListening"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{public}/slow", trust_env=False, verify=NO_AUTHORITIES, timeout=60)
    (tmp_path / "go").touch()
    until(lambda: readiness(internal).get("server") == "ok", MAX_START_SECONDS)
    assert (
        httpx.get(
            f"http://127.0.0.1:{public}/elsewhere", trust_env=False, verify=NO_AUTHORITIES, timeout=60
        ).status_code
        == 404
    )


def test_garbage_is_seldom_collected_until_a_service_serves(
    process: subprocess.Popen[bytes], ports: tuple[int, int], tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    until(lambda: readiness(ports[1]).get("server") == "ok", MAX_START_SECONDS)
    url = f"http://127.0.0.1:{ports[0]}/collection"
    assert httpx.get(url, trust_env=False, verify=NO_AUTHORITIES, timeout=60).json() == [True, True]


def test_a_service_that_is_about_to_end_is_not_ready_and_finishes_its_requests(
    process: subprocess.Popen[bytes], ports: tuple[int, int], tmp_path: Path
) -> None:
    public, internal = ports
    (tmp_path / "go").touch()
    until(lambda: readiness(internal).get("server") == "ok", MAX_START_SECONDS)
    request = [
        sys.executable,
        "-c",
        f"import httpx; print(httpx.get('http://127.0.0.1:{public}/slow', timeout=60))",
    ]
    with subprocess.Popen(request, stdout=subprocess.PIPE, text=True) as client:
        until((tmp_path / "asked").exists, MAX_START_SECONDS)
        process.send_signal(signal.SIGTERM)
        until(lambda: readiness(internal).get("server") == "ServerNotListening")
        (tmp_path / "answer").touch()
        assert "200" in client.communicate(timeout=300)[0]
    until(lambda: process.poll() is not None)
    assert process.returncode == 0


class CountingServer(Server):
    """A server that counts how often it wakes by itself."""

    ticks = 0

    async def on_tick(self, counter: int) -> bool:
        """Count."""
        self.ticks += 1
        return await super().on_tick(counter)


async def test_an_idle_server_wakes_once_a_second_and_stops_at_once() -> None:
    server = CountingServer(uvicorn.Config(FastAPI(), port=free_port(), lifespan="off", log_config=None))
    serving, began = asyncio.create_task(server.serve()), time.monotonic()
    await asyncio.sleep(0.5)
    assert server.ticks <= 2 + (time.monotonic() - began)
    server.stop()
    await serving

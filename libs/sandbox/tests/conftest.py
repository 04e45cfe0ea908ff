import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from sandbox.main import create_sandbox
from sandbox.processes import free_port, wait_until

# Making one per client, unused as it is on loopback, would be most of the suite's time.
TRUST = ssl.create_default_context()


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serve an app over a real socket, in a thread of its own."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert wait_until(lambda: server.started, seconds=60)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def sandbox_url() -> Iterator[str]:
    with serving(create_sandbox()) as url:
        yield url


@pytest.fixture
async def model(sandbox_url: str) -> AsyncIterator[AsyncOpenAI]:
    http = DefaultAsyncHttpxClient(verify=TRUST)
    url = f"{sandbox_url}/v1"
    async with AsyncOpenAI(base_url=url, api_key="sk-sandbox", max_retries=0, http_client=http) as client:
        yield client


@pytest.fixture
async def calls(sandbox_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """What the sandbox says of its calls; none at the beginning."""
    async with httpx.AsyncClient(base_url=sandbox_url, verify=TRUST, timeout=60) as client:
        await client.delete("/_sandbox/calls")
        yield client


@pytest.fixture
async def mail(sandbox_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """The mail API with an empty inbox."""
    key = {"Authorization": "Bearer re_sandbox"}
    async with httpx.AsyncClient(
        base_url=f"{sandbox_url}/resend", headers=key, verify=TRUST, timeout=60
    ) as client:
        await client.delete("/inbox")
        yield client

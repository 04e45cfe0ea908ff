import ssl
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from sandbox.main import create_sandbox
from testkit.live_server import serving

# Making one per client, unused as it is on loopback, would be most of the suite's time.
TRUST = ssl.create_default_context()


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

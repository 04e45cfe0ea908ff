"""An app under test: started as in production, and called through its public or its internal door."""

import contextlib
from collections.abc import AsyncIterator

import httpx
from fastapi import FastAPI
from servicekit.app import Resources
from servicekit.jwks.cache import JwksCache

# How often a key set is fetched that does not come in time, on a machine that is busy.
FETCHES = 10


@contextlib.asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[FastAPI]:
    """Run an app's lifespan, workers included when its settings say so."""
    async with app.router.lifespan_context(app):
        await load_keys(app)
        yield app


async def load_keys(app: FastAPI) -> None:
    """Load the keys of tokens before the first request, which is 503 as long as they are missing."""
    resources: Resources | None = getattr(app.state, "resources", None)
    if resources is None or not isinstance(resources.keys, JwksCache):
        return
    for _ in range(FETCHES):
        if await resources.keys.refresh_now():
            return


def client(app: FastAPI, token: str | None = None, **headers: str) -> httpx.AsyncClient:
    """Return a client of an app, with a token if given; `app.state.internal` is the internal app."""
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", headers=headers)

"""An app under test: started as in production, and called through its public or its internal door."""

import contextlib
from collections.abc import AsyncIterator

import httpx
from fastapi import FastAPI


@contextlib.asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[FastAPI]:
    """Run an app's lifespan, workers included when its settings say so."""
    async with app.router.lifespan_context(app):
        yield app


def client(app: FastAPI, token: str | None = None, **headers: str) -> httpx.AsyncClient:
    """Return a client of an app, with a token if given; `app.state.internal` is the internal app."""
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", headers=headers)

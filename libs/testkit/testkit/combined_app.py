"""Both doors of a service behind one address; the path of a request tells which of them it is for."""

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

INSIDE = ("/internal/", "/healthz", "/readyz", "/metrics")


def doors(app: FastAPI) -> ASGIApp:
    """Make an ASGI app that hands each request to the public or to the internal app of a service."""

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        inside = scope["type"] == "http" and scope["path"].startswith(INSIDE)
        await (app.state.internal if inside else app)(scope, receive, send)

    return enter

"""The public and the internal app of a service as one: the path of a request chooses between them."""

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

INTERNAL_PATHS = ("/internal/", "/healthz", "/readyz", "/metrics")


def combined_app(app: FastAPI) -> ASGIApp:
    """Make an ASGI app that hands each request to the public or to the internal app of a service."""

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        is_internal = scope["type"] == "http" and scope["path"].startswith(INTERNAL_PATHS)
        await (app.state.internal if is_internal else app)(scope, receive, send)

    return dispatch

"""The public and the internal app of a service as one: the path of a request chooses between them."""

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

INTERNAL_PATHS = ("/internal/", "/healthz", "/readyz", "/metrics")


class CombinedApp:
    """An ASGI app that hands each request to the public or to the internal app of a service."""

    def __init__(self, app: FastAPI) -> None:
        self.state = app.state
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on."""
        is_internal = scope["type"] == "http" and scope["path"].startswith(INTERNAL_PATHS)
        await (self.state.internal if is_internal else self._app)(scope, receive, send)

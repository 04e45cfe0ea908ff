"""HEAD wherever GET is, with the headers of its answer and no body (RFC 9110 section 9.3.2)."""

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadMiddleware:
    """ASGI middleware: lets the app answer HEAD as GET, and sends only the head of the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        with anyio.CancelScope() as work:
            await self.app({**scope, "method": "GET"}, receive, _Head(send, work))


class _Head:
    """The head of an answer; what streams its body is ended, as if the client had gone."""

    def __init__(self, send: Send, work: anyio.CancelScope) -> None:
        self._send = send
        self._work = work
        self._is_sent = False

    async def __call__(self, message: Message) -> None:
        """Pass the head on."""
        if message["type"] == "http.response.start":
            await self._send(message)
        elif not self._is_sent:
            self._is_sent = True
            await self._send({"type": "http.response.body", "body": b""})
            if message.get("more_body"):
                self._work.cancel()

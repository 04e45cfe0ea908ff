"""What happens around every request: its id, its context, its log line, and the failure nobody foresaw."""

import logging
import re
import time
from http import HTTPStatus
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servicekit import context
from servicekit.errors import unexpected

logger = logging.getLogger(__name__)

WELL_FORMED = re.compile(r"[A-Za-z0-9._:-]{1,128}")
MAX_BODY_BYTES = 1024 * 1024
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})


class RequestScope:
    """ASGI middleware; a pure one, so that what a route binds (tenant, user) is seen here too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with context.scope(correlation_id=request_id(scope)):
            await Exchange(scope, receive, send).run(self.app)


class Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.status = 0
        self.received = 0
        self._receive = receive
        self._send = send
        self._started = time.perf_counter()

    async def run(self, app: ASGIApp) -> None:
        """Answer, also when the app fails, and log how it went."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception as error:
            answer = unexpected(error)
            if self.status:
                # The answer has begun; it can only be broken off, so that nobody takes it for whole.
                raise
            await answer(self.scope, self.receive, self.send)
        finally:
            self.log()

    async def receive(self) -> Message:
        """Take in a part of the body; 413 for more than it may have, before reading when it says so.

        The framework's own limit answers in plain text.
        """
        announced = Headers(scope=self.scope).get("content-length", "")
        message = await self._receive() if not is_too_large(announced) else {}
        self.received += len(message.get("body", b""))
        if not message or self.received > MAX_BODY_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return message

    async def send(self, message: Message) -> None:
        """Pass a part of the answer on, with the request's id on its head."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-Id"] = context.request_id() or ""
        await self._send(message)

    def log(self) -> None:
        """Tell the one line that every request leaves."""
        if self.scope["path"] in PROBES:
            return
        fields = {
            "method": self.scope["method"],
            # Never the query: it may carry a token.
            "path": self.scope["path"],
            "status_code": self.status,
            "duration_ms": round((time.perf_counter() - self._started) * 1000, 1),
        }
        logger.info("http.response", extra=fields)


def is_too_large(content_length: str) -> bool:
    """Tell whether a body announces itself as larger than a body may be."""
    return content_length.isdecimal() and int(content_length) > MAX_BODY_BYTES


def request_id(scope: Scope) -> str:
    """Take the caller's id for this request when it is well formed, else make one."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if WELL_FORMED.fullmatch(given) else str(uuid4())

"""Middleware around every request: its id, its context, its log line, and unexpected errors."""

import logging
import re
import time
from http import HTTPStatus
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servicekit import context, invalid_requests, request_limits
from servicekit.content_encoding import decoded
from servicekit.errors import PayloadTooLarge, ServiceError, to_response, unexpected
from servicekit.rate_limits import RateLimited

logger = logging.getLogger(__name__)

WELL_FORMED = re.compile(r"[A-Za-z0-9._:-]{1,128}")
TOO_LARGE = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
UNAVAILABLE = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
EVENT_STREAM = "text/event-stream"
# The gateway sends the same.
RECONNECT = b": unavailable\nretry: 3000\n"
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})


class RequestContextMiddleware:
    """ASGI middleware; a pure one, so that what a route binds (tenant, user) is seen here too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with context.scope(correlation_id=request_id(scope)):
            await _Request(scope, receive, send).run(self.app)


class _Request:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.status = 0
        self._receive = receive
        self._send = send
        self._started = time.perf_counter()
        self._is_json = "json" in Headers(scope=scope).get("content-type", "").lower()
        self._parts: list[bytes] = []
        self._size = 0
        self._is_replaced = False

    async def run(self, app: ASGIApp) -> None:
        """Run the app, answer if it fails, and log the request."""
        try:
            await self.answer(app)
        except Exception as error:
            answer = unexpected(error)
            if self.status:
                # The answer has begun; it can only be broken off, so that nobody takes it for whole.
                raise
            await answer(self.scope, self.receive, self.send)
        finally:
            self.log()

    async def answer(self, app: ASGIApp) -> None:
        """Run the app, unless the request's head is rejected."""
        try:
            request_limits.check_head(self.scope)
            self._receive = decoded(self.scope, self._receive)
        except ServiceError as error:
            await to_response(error)(self.scope, self.receive, self.send)
        else:
            await app(self.scope, self.receive, self.send)

    async def receive(self) -> Message:
        """Receive a part of the body, and check the whole body before it is parsed.

        How large it may be is the route's to say (`max_body_size`). Its `LargeBodyRoute` checks a large one.
        """
        message = await self._receive()
        if self._is_json and message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            if self._size > request_limits.LARGE_BODY:
                self._parts.clear()
                return message
            self._parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                request_limits.check_json(b"".join(self._parts))
                self._parts.clear()
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the response, or another response in its place."""
        if message["type"] == "http.response.start" and (other := await self.instead_of(message)):
            self._is_replaced = True
            await other(self.scope, self._receive, self.pass_on)
        elif not self._is_replaced:
            await self.pass_on(message)

    async def instead_of(self, head: Message) -> Response | None:
        """Return another answer: 429 to too many invalid requests, a problem in place of a plain 413.

        And an empty stream to an EventSource during an outage: any other status than 200 ends it for good
        (WHATWG HTML 9.2.3), of this it comes again, after the last event that it has.
        """
        if head["status"] in UNAVAILABLE and wants_events(self.scope):
            return Response(RECONNECT, media_type=EVENT_STREAM, headers={"Cache-Control": "no-store"})
        if head["status"] not in invalid_requests.STATUSES:
            return None
        try:
            await invalid_requests.count(self.scope)
        except RateLimited as error:
            return to_response(error)
        is_plain = Headers(raw=head["headers"]).get("content-type", "").startswith("text/plain")
        return to_response(PayloadTooLarge()) if is_plain and head["status"] == TOO_LARGE else None

    async def pass_on(self, message: Message) -> None:
        """Send a part of the response, with the request id as a header."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-Id"] = context.request_id() or ""
        await self._send(message)

    def log(self) -> None:
        """Log the one line that every request leaves."""
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


def wants_events(scope: Scope) -> bool:
    """Return whether a request comes from an EventSource."""
    return scope["method"] == "GET" and EVENT_STREAM in Headers(scope=scope).get("accept", "")


def request_id(scope: Scope) -> str:
    """Return the caller's request id if it is well formed, else a new one."""
    request_id = Headers(scope=scope).get("x-request-id", "")
    return request_id if WELL_FORMED.fullmatch(request_id) else str(uuid4())

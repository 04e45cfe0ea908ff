"""Errors in OpenAI's shape, with our codes: every problem under /v1 is rendered so."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import orjson
from servicekit.errors import MEDIA_TYPE, BadRequest, ServiceError
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chat_agent.errors import QuotaExceeded

PREFIX = "/v1/"
TYPES = {401: "authentication_error", 403: "permission_error", 409: "conflict_error", 429: "rate_limit_error"}
# What OpenAI's clients know an exceeded budget by.
INSUFFICIENT_QUOTA = "insufficient_quota"
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string", "examples": ["invalid_request_error"]},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string", "examples": ["agent_not_found"]},
            },
        }
    },
}
ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "An error, in OpenAI's shape.",
        "content": {"application/json": {"schema": ERROR}},
    }
}


class ParameterNotAllowed(BadRequest):
    """The operator does not let callers set this parameter for the agent."""

    def __init__(self, param: str, agent: str) -> None:
        super().__init__(f"`{param}` may not be set for {agent!r}; leave it out.", param=param)


class OpenAIErrors:
    """ASGI middleware: turns the problems under /v1 into OpenAI's errors; all else passes."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            send = ErrorRewriter(send)
        await self.app(scope, receive, send)


class ErrorRewriter:
    """The way of one answer to its client; a problem is held until it is whole."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._head: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        """Pass a part of the answer on."""
        if message["type"] == "http.response.start" and is_problem(message):
            self._head = message
        elif self._head is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._answer(self._head)

    async def _answer(self, head: Message) -> None:
        error = to_openai_error(orjson.loads(self._body))
        body = orjson.dumps({"error": error})
        head["status"] = status_of(head["status"])
        headers = MutableHeaders(scope=head)
        headers["Content-Type"], headers["Content-Length"] = "application/json", str(len(body))
        await self._send(head)
        await self._send({"type": "http.response.body", "body": body})


def is_problem(head: Message) -> bool:
    """Return whether an answer is a problem (RFC 9457)."""
    return MutableHeaders(scope=head).get("content-type", "").startswith(MEDIA_TYPE)


def status_of(status: int) -> int:
    """Return the status that OpenAI has for it: what does not fit is a bad request there."""
    return HTTPStatus.BAD_REQUEST if status == HTTPStatus.UNPROCESSABLE_ENTITY else status


def to_openai_error(problem: dict[str, Any]) -> dict[str, Any]:
    """Build an error of a problem; of several invalid values, the first is named."""
    first = next(iter(problem.get("errors", ())), None)
    param, message = problem.get("param"), problem["detail"]
    if first is not None:
        param = parameter_name(first["loc"]) or None
        message = f"{param or 'body'}: {first['msg']}"
    return error_object(problem["status"], problem["code"], message, param)


def error_object(status: int, code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """Return the object that OpenAI's clients read."""
    if code == QuotaExceeded.code():
        return {"message": message, "type": INSUFFICIENT_QUOTA, "param": param, "code": INSUFFICIENT_QUOTA}
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"message": message, "type": kind, "param": param, "code": code}


def render_error(error: ServiceError) -> dict[str, Any]:
    """Return an error as it stands in a stream."""
    return error_object(error.status, error.code(), error.detail)


def parameter_name(location: Iterable[str | int]) -> str:
    """Return the path of an invalid value in the body."""
    return ".".join(str(part) for part in location if part != "body")

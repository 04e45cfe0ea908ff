"""Errors in OpenAI's shape, with our codes: every problem under /v1 is rendered so."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from servicekit.errors import MEDIA_TYPE, ServiceError
from servicekit.idempotency import IdempotencyConflict
from servicekit.validation_errors import parameter_name
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chat_agent import errors
from chat_agent.attachments.files import FileLimitReached
from chat_agent.errors import QuotaExceeded

PREFIX = "/v1/"
TYPES = {401: "authentication_error", 403: "permission_error", 409: "conflict_error", 429: "rate_limit_error"}
# What OpenAI's clients know an exceeded budget by.
INSUFFICIENT_QUOTA = "insufficient_quota"
# What OpenAI's clients would repeat by its status (408, 409, 429, and 500 and above), though it fails again.
FINAL = {
    kind.code()
    for kind in (
        QuotaExceeded,
        IdempotencyConflict,
        errors.ApprovalAnswered,
        errors.ApprovalExpired,
        errors.CheckpointInvalid,
        errors.ConversationLimitReached,
        FileLimitReached,
        errors.MaxTurnsExceeded,
        errors.ModelAnswerIncomplete,
        errors.ModelAuthenticationFailed,
        errors.ModelOutputInvalid,
        errors.ModelRefusedAnswer,
        errors.ModelRefusedRequest,
        errors.RunAlreadyFinished,
        errors.RunCancelled,
        errors.RunTimedOut,
        errors.TokenBudgetExceeded,
        errors.ToolOutcomeUnknown,
        errors.WorkerLost,
    )
}
# Members of a problem that OpenAI's errors have elsewhere, if at all; the others are an error's own.
NOT_OWN = {"type", "title", "status", "detail", "code", "request_id", "errors", "param", "run_id"}
Place = tuple[str | int, ...]
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
        problem = orjson.loads(self._body)
        body = orjson.dumps({"error": to_openai_error(problem)})
        head["status"] = status_of(head["status"])
        headers = MutableHeaders(scope=head)
        if problem["code"] in FINAL:
            headers["X-Should-Retry"] = "false"
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
    """Build an error of a problem; of several invalid values, the innermost is named.

    Where several types are allowed, that is of the type that fits best.
    """
    param, message = problem.get("param"), problem["detail"]
    if invalid := problem.get("errors"):
        innermost = max(invalid, key=lambda one: len(one["loc"]))
        param = parameter_name(innermost["loc"]) or None
        message = f"{param or 'body'}: {innermost['msg']}"
    error = error_object(problem["status"], problem["code"], message, param)
    return {**error, **own_members(problem)}


def error_object(status: int, code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """Return the object that OpenAI's clients read."""
    if code == QuotaExceeded.code():
        return {"message": message, "type": INSUFFICIENT_QUOTA, "param": param, "code": INSUFFICIENT_QUOTA}
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"message": message, "type": kind, "param": param, "code": code}


def render_error(error: ServiceError) -> dict[str, Any]:
    """Return an error as it stands in a stream."""
    return {**error_object(error.status, error.code(), error.detail), **own_members(error.extensions)}


def own_members(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a problem that its error alone has."""
    return {name: value for name, value in members.items() if name not in NOT_OWN}


@contextmanager
def sent_as(places: Mapping[str, Place]) -> Iterator[None]:
    """Name invalid values of our own requests by the places where the client has sent them."""
    try:
        yield
    except RequestValidationError as error:
        named = [{**one, "loc": ("body", *places.get(one["loc"][-1], ()))} for one in error.errors()]
        raise RequestValidationError(named) from error

"""The tree of errors, and how they are rendered: problem details (RFC 9457).

ServiceError
├── BadRequest 400          ├── PayloadTooLarge 413
├── Unauthenticated 401     ├── QueryTooLong 414
├── Forbidden 403           ├── Unprocessable 422
├── NotFound 404            ├── TooManyRequests 429
├── Conflict 409            ├── HeadersTooLarge 431
├── Gone 410                └── Unavailable 503
├── PreconditionFailed 412

A service names its failures by subclassing: `class PlanUnknown(NotFound)` travels as the code
`plan_unknown`. So the class name is the wire code, and renaming a class is a change of the API.
"""

import logging
import math
import re
from http import HTTPStatus
from typing import ClassVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import JsonValue
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from servicekit.context import request_id
from servicekit.validation_errors import first_errors, sentence, truncate

MEDIA_TYPE = "application/problem+json"
FRAMEWORK_CODES = {400: "bad_request", 413: "payload_too_large", 422: "invalid_request"}
TOO_LARGE = "The body is larger than this address takes."
MAX_DETAIL = 500

logger = logging.getLogger(__name__)


class ServiceError(Exception):
    """An error that the caller receives; `detail` is a sentence for a person."""

    status: ClassVar[int] = HTTPStatus.INTERNAL_SERVER_ERROR
    default_detail: ClassVar[str] = ""
    # Of a problem, unless a protocol prescribes another.
    media_type: ClassVar[str] = MEDIA_TYPE

    def __init__(
        self,
        detail: str = "",
        *,
        retry_after: float | None = None,
        headers: dict[str, str] | None = None,
        **extensions: JsonValue,
    ) -> None:
        self.detail = detail or self.default_detail or HTTPStatus(self.status).phrase
        self.retry_after = retry_after
        self.headers = headers or {}
        self.extensions = extensions
        super().__init__(self.detail)

    @classmethod
    def code(cls) -> str:
        """Return the stable word that clients switch on: the class name in snake_case."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()


class BadRequest(ServiceError):
    """The request cannot be understood."""

    status = HTTPStatus.BAD_REQUEST


class Unauthenticated(ServiceError):
    """The caller is not authenticated."""

    status = HTTPStatus.UNAUTHORIZED


class Forbidden(ServiceError):
    """The caller is authenticated and not allowed."""

    status = HTTPStatus.FORBIDDEN


class NotFound(ServiceError):
    """The thing does not exist, or the caller may not see it."""

    status = HTTPStatus.NOT_FOUND


class Conflict(ServiceError):
    """The request contradicts what is already there."""

    status = HTTPStatus.CONFLICT


class Gone(ServiceError):
    """The thing existed and was removed for good."""

    status = HTTPStatus.GONE


class PreconditionFailed(ServiceError):
    """Somebody else changed it first."""

    status = HTTPStatus.PRECONDITION_FAILED


class PayloadTooLarge(ServiceError):
    """The body is larger than this route takes."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    default_detail = TOO_LARGE


class QueryTooLong(ServiceError):
    """The query of the address is longer, or has more parameters, than any route takes."""

    status = HTTPStatus.REQUEST_URI_TOO_LONG
    default_detail = "The query is longer, or has more parameters, than is taken here."


class HeadersTooLarge(ServiceError):
    """The headers are more, or larger, than any request needs."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    default_detail = "The headers are more, or larger, than are taken here."


class Unprocessable(ServiceError):
    """The request is well formed, and its content is invalid."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class TooManyRequests(ServiceError):
    """The caller should slow down."""

    status = HTTPStatus.TOO_MANY_REQUESTS


class Unavailable(ServiceError):
    """A dependency does not answer; trying again later may help."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    default_detail = "A part of the service does not answer. Try again shortly."

    def __init__(self, detail: str = "", *, retry_after: float | None = 2) -> None:
        super().__init__(detail, retry_after=retry_after)


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    headers: dict[str, str] | None = None,
    extensions: dict[str, JsonValue] | None = None,
) -> JSONResponse:
    """Render one problem the way every service does."""
    body: dict[str, JsonValue] = {
        "type": f"urn:acme:{code}",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": truncate(detail, MAX_DETAIL),
        "code": code,
        "request_id": request_id(),
        **(extensions or {}),
    }
    return JSONResponse(body, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make an app answer every failure with a problem; nothing of the inside shows."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    for unreachable in (RedisConnectionError, RedisTimeoutError, PoolTimeout, OSError, TimeoutError):
        app.add_exception_handler(unreachable, _unreachable)
    app.add_exception_handler(DBAPIError, _database_error)


async def _service_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)  # noqa: S101  # what it is registered for
    return to_response(error)


def to_response(error: ServiceError) -> Response:
    """Render an error as a problem."""
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    answer = problem(error.status, error.code(), error.detail, headers=headers, extensions=error.extensions)
    answer.headers["Content-Type"] = error.media_type
    return answer


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # what it is registered for
    # Whatever is raised while the framework reads a body, it wraps.
    if isinstance(error.__cause__, ServiceError):
        return to_response(error.__cause__)
    phrase = HTTPStatus(error.status_code).phrase
    code = FRAMEWORK_CODES.get(error.status_code, phrase.lower().replace(" ", "_"))
    details = {
        HTTPStatus.NOT_FOUND: f"There is no `{request.method} {request.url.path[:200]}` here.",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: TOO_LARGE,
    }
    detail = details.get(HTTPStatus(error.status_code), f"{phrase}.")
    return problem(error.status_code, code, detail, headers=dict(error.headers or {}))


async def _invalid_request(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # what it is registered for
    unreadable = any(one["type"] == "json_invalid" for one in error.errors())
    errors = [*first_errors(error.errors(), error.body)]
    listed: list[JsonValue] = [*errors]
    status = HTTPStatus.BAD_REQUEST if unreadable else HTTPStatus.UNPROCESSABLE_ENTITY
    code = "malformed_json" if unreadable else "invalid_request"
    detail = "The body is not valid JSON." if unreadable else sentence(errors)
    return problem(status, code, detail, extensions={"errors": listed})


async def _unreachable(_: Request, error: Exception) -> Response:
    logger.warning("a dependency does not answer", extra={"error": type(error).__name__})
    return await _service_error(_, Unavailable())


async def _database_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DBAPIError)  # noqa: S101  # what it is registered for
    return await _unreachable(request, error) if is_outage(error) else unexpected(error)


def is_outage(error: Exception) -> bool:
    """Return whether a database error may pass: down, full, stopping, or a transaction rolled back."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, PoolTimeout | OSError | TimeoutError)
    # 57: the server is shutting down or was told to stop; 53: it is full; 08: the connection broke; 40: the
    # transaction was rolled back for another's sake, as in a deadlock or by what a standby has to apply.
    state = str(getattr(error.orig, "sqlstate", None) or "")
    lost = error.connection_invalidated or isinstance(error, InterfaceError)
    return lost or state[:2] in {"08", "40", "53", "57"}


def unexpected(error: Exception) -> Response:
    """Log an unexpected error, and return a problem that reveals only the request id."""
    logger.error("unexpected error", exc_info=error)
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        "Something went wrong on our side. Tell us the request id.",
    )

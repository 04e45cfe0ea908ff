"""Errors in the shape of the provider whose API was called."""

from collections.abc import Iterator
from uuid import uuid4

from fastapi.responses import JSONResponse, Response

from sandbox.messages import Json

ANTHROPIC, GEMINI = "/v1/messages", "/v1beta/"
_TYPES = "type.googleapis.com/google.rpc"
_OPENAI_KINDS = {401: "invalid_request_error", 404: "invalid_request_error", 429: "requests"}
_OPENAI_CODES = {401: "invalid_api_key", 404: "not_found", 429: "rate_limit_exceeded"}
_ANTHROPIC_KINDS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_GEMINI_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class ApiError(Exception):
    """An error of an API."""

    def __init__(
        self, status: int, message: str, *, retry_after: float | None = None, reason: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after, self.reason = status, message, retry_after, reason

    def response(self, path: str) -> Response:
        """Write it down, as the API of a path does."""
        if path.startswith(GEMINI):
            return JSONResponse(gemini_error(self.status, self.message, *self._details()), self.status)
        shape = anthropic_error if path.startswith(ANTHROPIC) else openai_error
        wait = {} if self.retry_after is None else {"Retry-After": f"{self.retry_after:g}"}
        return JSONResponse(shape(self.status, self.message), self.status, wait | request_id())

    def _details(self) -> Iterator[Json]:
        """Yield what Gemini says beside the status, such as for how long to wait."""
        if self.retry_after is not None:
            yield {"@type": f"{_TYPES}.RetryInfo", "retryDelay": f"{self.retry_after:g}s"}
        if self.reason is not None:
            yield {"@type": f"{_TYPES}.ErrorInfo", "reason": self.reason, "domain": "googleapis.com"}


def request_id() -> dict[str, str]:
    """Return the header that names a request."""
    return {"x-request-id": f"req_{uuid4().hex}"}


def openai_error(status: int, message: str) -> Json:
    """Return the body of an error of OpenAI."""
    kind = _OPENAI_KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": _OPENAI_CODES.get(status)}}


def anthropic_error(status: int, message: str) -> Json:
    """Return the body of an error of Anthropic."""
    kind = _ANTHROPIC_KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": f"req_{uuid4().hex}",
    }


def gemini_error(status: int, message: str, *details: Json) -> Json:
    """Return the body of an error of Gemini."""
    error: Json = {"code": status, "message": message, "status": _GEMINI_STATUSES.get(status, "INTERNAL")}
    return {"error": error | ({"details": [*details]} if details else {})}

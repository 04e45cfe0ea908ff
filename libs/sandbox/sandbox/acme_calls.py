"""Calls of Acme's gateway for the pages that stand in for a frontend."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

_SECONDS = 30
UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE


class RequestRefused(Exception):
    """Acme refused a call, or did not answer; the message is its reason."""

    def __init__(self, reason: str, status: HTTPStatus) -> None:
        super().__init__(reason)
        self.status = status


def call(
    url: str, body: Mapping[str, str] | None, headers: Mapping[str, str] | None = None
) -> dict[str, object]:
    """Post JSON to the gateway, or get without a body; return the answer. Raises RequestRefused."""
    content = None if body is None else json.dumps(body).encode()
    request = Request(url, content, {"Content-Type": "application/json", **(headers or {})})  # noqa: S310
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=_SECONDS) as answer:
            return dict(json.loads(answer.read() or b"{}"))
    except HTTPError as error:
        status = UNAVAILABLE if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR else HTTPStatus.BAD_REQUEST
        raise RequestRefused(_reason(error.read(), error.code), status) from error
    except (URLError, OSError) as error:
        raise RequestRefused("Acme does not answer. Is it running?", UNAVAILABLE) from error


def _reason(content: bytes, status: int) -> str:
    try:
        return str(json.loads(content)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"Acme answered {status}."

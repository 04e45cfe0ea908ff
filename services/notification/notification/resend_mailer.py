"""Send email through Resend's SDK (resend.com/docs/api-reference/emails/send-email), or to the sandbox.

The SDK keeps its key, its URL and its HTTP client in globals of its module. Here its client is ours, which
takes all three from the mailer that sends, and reuses connections.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any

import httpx
import orjson
import resend
from pydantic import JsonValue
from resend.exceptions import ResendError

from notification.settings import Settings

TIMEOUT = httpx.Timeout(10, connect=3)
# For the whole exchange, however slowly its parts arrive; less than a sender's lease.
TOTAL_TIMEOUT_SECONDS = 20
MAX_RETRY_AFTER_SECONDS = 3600.0
# The email itself is rejected; it will be rejected the next time as well.
PERMANENT_STATUSES = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
QUOTA_ERRORS = frozenset({"daily_quota_exceeded", "monthly_quota_exceeded"})
ERROR_NAME = re.compile(r"[a-z0-9_]{1,64}")

_connections: ContextVar[httpx.AsyncClient] = ContextVar("resend_connections")


class PermanentFailure(Exception):
    """The provider rejects this email and always will; the message is the provider's error name."""


class TemporaryFailure(Exception):
    """The email can be sent later: the provider is down, over its limits, or misconfigured on our side."""

    def __init__(self, name: str, retry_after: float = 0) -> None:
        super().__init__(name)
        self.retry_after = retry_after


class PooledClient(resend.AsyncHTTPClient):
    """The SDK's HTTP client, over the connections and with the key of the mailer that sends."""

    async def request(  # noqa: PLR0913, PLR0917  # the SDK's signature
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        json: dict[str, object] | list[object] | None = None,
        files: dict[str, Any] | None = None,  # noqa: ARG002  # for attachments, which we do not send
        data: dict[str, str] | None = None,  # noqa: ARG002
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send a request, and return the response as the SDK understands it."""
        own = {name: value for name, value in headers.items() if name != "Authorization"}
        path = url.removeprefix(resend.api_url)
        response = await _connections.get().request(method, path, headers=own, json=json)
        headers = {**response.headers, "content-type": "application/json"}
        return orjson.dumps(normalize(response)), response.status_code, headers


class ResendMailer:
    """One account at Resend."""

    def __init__(self, connections: httpx.AsyncClient) -> None:
        self._connections = connections

    async def send(self, email: resend.Emails.SendParams, *, idempotency_key: str) -> str | None:
        """Send an email, once per key within 24 hours, and return the provider's id.

        There is no id when the provider has accepted an email under this key whose text has changed since.

        Raise PermanentFailure or TemporaryFailure.
        """
        _connections.set(self._connections)
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT_SECONDS):
                sent = await resend.Emails.send_async(email, {"idempotency_key": idempotency_key})
        except TimeoutError as error:
            raise TemporaryFailure(type(error).__name__) from None
        except ResendError as error:
            if error.error_type == "invalid_idempotent_request":
                return None
            raise to_failure(error) from None
        return sent["id"]


@contextlib.asynccontextmanager
async def open_mailer(settings: Settings) -> AsyncIterator[ResendMailer]:
    """Open the account that the settings name, with a pool of connections."""
    resend.default_async_http_client = PooledClient()
    key = settings.resend_api_key.get_secret_value() if settings.resend_api_key else ""
    async with httpx.AsyncClient(
        base_url=settings.resend_base_url, headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT
    ) as connections:
        yield ResendMailer(connections)


def normalize(response: httpx.Response) -> dict[str, JsonValue]:
    """Return the body of a response, or an error named `http_<status>` where Resend did not write it.

    The name of an error is one word; a sentence could contain the recipient's address.
    """
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and response.is_success and isinstance(body.get("id"), str):
        return body
    name = body.get("name") if isinstance(body, dict) else None
    if not isinstance(name, str) or not ERROR_NAME.fullmatch(name):
        name = f"http_{response.status_code}"
    return {"statusCode": HTTPStatus.INTERNAL_SERVER_ERROR, "name": name, "message": name}


def to_failure(error: ResendError) -> PermanentFailure | TemporaryFailure:
    """Return whether a retry can help, and after how long."""
    if isinstance(error.__context__, httpx.TransportError):
        # No response: the email may have been accepted or not, which the same key makes safe to repeat.
        return TemporaryFailure(type(error.__context__).__name__)
    if error.code in PERMANENT_STATUSES:
        return PermanentFailure(error.error_type)
    if error.error_type in QUOTA_ERRORS:
        return TemporaryFailure(error.error_type, MAX_RETRY_AFTER_SECONDS)
    retry_after = error.headers.get("retry-after", "")
    seconds = min(float(retry_after), MAX_RETRY_AFTER_SECONDS) if retry_after.isdecimal() else 0
    return TemporaryFailure(error.error_type, seconds)

"""Mail through Resend's API (resend.com/docs/api-reference/emails/send-email), or the sandbox that speaks it.

Plain httpx and not Resend's library, whose key, address and client are globals of its module, which opens a
connection for every mail, and which reports a lost connection as a response of the server's.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping

import httpx
from pydantic import JsonValue

from notification.settings import Settings

TIMEOUT = httpx.Timeout(10, connect=3)
# For the whole exchange, however slowly its parts trickle in; less than a sender's lease.
TOTAL_TIMEOUT_SECONDS = 20
MAX_RETRY_AFTER_SECONDS = 3600.0
# The mail itself is refused; it will be refused the next time as well.
PERMANENT_STATUSES = frozenset(
    {httpx.codes.BAD_REQUEST, httpx.codes.REQUEST_ENTITY_TOO_LARGE, httpx.codes.UNPROCESSABLE_ENTITY}
)
QUOTA_ERRORS = frozenset({"daily_quota_exceeded", "monthly_quota_exceeded"})
ERROR_NAME = re.compile(r"[a-z0-9_]{1,64}")


class PermanentFailure(Exception):
    """The provider does not accept this mail, and never will; the message is the provider's word for it."""


class TemporaryFailure(Exception):
    """The mail may go out later: the provider is down, over its limits, or misconfigured on our side."""

    def __init__(self, code: str, retry_after: float = 0) -> None:
        super().__init__(code)
        self.retry_after = retry_after


class ResendMailer:
    """One account at Resend."""

    def __init__(self, http: httpx.AsyncClient, default_from: str) -> None:
        self._http = http
        self._default_from = default_from

    async def send(self, email: Mapping[str, JsonValue], *, idempotency_key: str) -> str | None:
        """Send an email, once per key within 24 hours, and return the provider's id.

        Raise PermanentFailure or TemporaryFailure.

        There is no id when the provider has taken a mail under this key, and its text has changed since.
        """
        headers = {"Idempotency-Key": idempotency_key}
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT_SECONDS):
                response = await self._http.post(
                    "/emails", json={"from": self._default_from, **email}, headers=headers
                )
        except (httpx.TransportError, TimeoutError) as error:
            raise TemporaryFailure(type(error).__name__) from None
        body = parse_object(response)
        if response.is_success and isinstance(body.get("id"), str):
            return str(body["id"])
        if error_name(response, body) == "invalid_idempotent_request":
            return None
        raise to_failure(response, body)


@contextlib.asynccontextmanager
async def open_mailer(settings: Settings) -> AsyncIterator[ResendMailer]:
    """Open the account that the settings name, with connections that are used again."""
    key = settings.resend_api_key.get_secret_value() if settings.resend_api_key else ""
    async with httpx.AsyncClient(
        base_url=settings.resend_base_url, headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT
    ) as http:
        yield ResendMailer(http, settings.resend_default_from or "")


def parse_object(response: httpx.Response) -> dict[str, JsonValue]:
    """Read a response's JSON object; an empty one when there is none, as in a proxy's error page."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def error_name(response: httpx.Response, body: Mapping[str, JsonValue]) -> str:
    """Name what went wrong in the provider's word; never in its sentence, which may hold the address."""
    word = str(body.get("name"))
    return word if "name" in body and ERROR_NAME.fullmatch(word) else f"http_{response.status_code}"


def to_failure(
    response: httpx.Response, body: Mapping[str, JsonValue]
) -> PermanentFailure | TemporaryFailure:
    """Tell whether trying again can help, and after how long."""
    name = error_name(response, body)
    if response.status_code in PERMANENT_STATUSES:
        return PermanentFailure(name)
    if name in QUOTA_ERRORS:
        return TemporaryFailure(name, MAX_RETRY_AFTER_SECONDS)
    retry_after = response.headers.get("retry-after", "")
    return TemporaryFailure(
        name, min(float(retry_after), MAX_RETRY_AFTER_SECONDS) if retry_after.isdecimal() else 0
    )

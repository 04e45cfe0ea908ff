"""Mail through Resend's API (resend.com/docs/api-reference/emails/send-email), or the sandbox that speaks it.

Plain httpx and not Resend's library, whose key, address and client are globals of its module, which opens a
connection for every mail, and which reports a lost connection as an answer of the server's.
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
LONGEST_SECONDS = 20
LONGEST_WAIT = 3600.0
# The mail itself is refused; it will be refused the next time as well.
REFUSALS = frozenset(
    {httpx.codes.BAD_REQUEST, httpx.codes.REQUEST_ENTITY_TOO_LARGE, httpx.codes.UNPROCESSABLE_ENTITY}
)
QUOTAS = frozenset({"daily_quota_exceeded", "monthly_quota_exceeded"})
WORD = re.compile(r"[a-z0-9_]{1,64}")


class Refused(Exception):
    """The provider does not accept this mail, and never will; the message is the provider's word for it."""


class NotNow(Exception):
    """The mail may go out later: the provider is down, over its limits, or misconfigured on our side."""

    def __init__(self, code: str, retry_after: float = 0) -> None:
        super().__init__(code)
        self.retry_after = retry_after


class Resend:
    """One account at Resend."""

    def __init__(self, http: httpx.AsyncClient, sender: str) -> None:
        self._http = http
        self._sender = sender

    async def send(self, mail: Mapping[str, JsonValue], *, idempotency_key: str) -> str | None:
        """Send a mail, once for a key within 24 hours; gives the provider's id. Raises Refused or NotNow.

        There is no id when the provider has taken a mail under this key, and its text has changed since.
        """
        headers = {"Idempotency-Key": idempotency_key}
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                answer = await self._http.post(
                    "/emails", json={"from": self._sender, **mail}, headers=headers
                )
        except (httpx.TransportError, TimeoutError) as error:
            raise NotNow(type(error).__name__) from None
        body = object_in(answer)
        if answer.is_success and isinstance(body.get("id"), str):
            return str(body["id"])
        if problem_of(answer, body) == "invalid_idempotent_request":
            return None
        raise failure(answer, body)


@contextlib.asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Resend]:
    """Open the account that the settings name, with connections that are used again."""
    key = settings.resend_api_key.get_secret_value() if settings.resend_api_key else ""
    async with httpx.AsyncClient(
        base_url=settings.resend_base_url, headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT
    ) as http:
        yield Resend(http, settings.resend_default_from or "")


def object_in(answer: httpx.Response) -> dict[str, JsonValue]:
    """Read an answer's JSON object; an empty one when there is none, as in a proxy's error page."""
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def problem_of(answer: httpx.Response, body: Mapping[str, JsonValue]) -> str:
    """Name what went wrong in the provider's word; never in its sentence, which may hold the address."""
    word = str(body.get("name"))
    return word if "name" in body and WORD.fullmatch(word) else f"http_{answer.status_code}"


def failure(answer: httpx.Response, body: Mapping[str, JsonValue]) -> Refused | NotNow:
    """Tell whether trying again can help, and after how long."""
    problem = problem_of(answer, body)
    if answer.status_code in REFUSALS:
        return Refused(problem)
    if problem in QUOTAS:
        return NotNow(problem, LONGEST_WAIT)
    asked = answer.headers.get("retry-after", "")
    return NotNow(problem, min(float(asked), LONGEST_WAIT) if asked.isdecimal() else 0)

"""Requests of authorization servers: limited in time, to public hosts, without redirects."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx2
import orjson

from chat_agent.clients.supplied_urls import is_encrypted
from chat_agent.clients.tenant_http import TooManyRequests
from chat_agent.mcp_servers.errors import McpServerUnavailable, McpSignInFailed

SECONDS = 5.0
MAX_BYTES = 256 * 1024


# A refusal for now, as a failure of the server is: the same request may succeed later.
TRANSIENT_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


class GrantRefused(Exception):
    """The authorization server does not take a code or a refresh token (`invalid_grant`)."""


class ClientRefused(GrantRefused):
    """The authorization server does not know the client any more (`invalid_client`)."""


# Of the errors of RFC 6749 (5.2) those after which a grant is worth nothing.
FINAL_ERRORS = {
    "invalid_grant": GrantRefused,
    "invalid_client": ClientRefused,
    "unauthorized_client": ClientRefused,
}


@dataclass(frozen=True)
class OAuthHttp:
    """Makes requests of authorization servers."""

    http: httpx2.AsyncClient
    private_hosts: frozenset[str]

    def check_url(self, url: str) -> None:
        """Raise McpSignInFailed for an address to which nothing secret may be sent."""
        if not is_encrypted(url, self.private_hosts):
            raise McpSignInFailed("An address of the authorization server is not https.")

    async def send(self, method: str, url: str, **options: Any) -> httpx2.Response:
        """Send a request; raises McpServerUnavailable, McpSignInFailed."""
        self.check_url(url)
        try:
            # Of the whole: of a server that sends a byte now and then, each read would be in time.
            async with asyncio.timeout(SECONDS):
                return await self.http.request(method, url, timeout=SECONDS, **options)
        except TooManyRequests as error:
            raise McpServerUnavailable(f"{error}.") from None
        except (httpx2.TransportError, TimeoutError) as error:
            raise McpServerUnavailable("The authorization server does not answer.") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise McpSignInFailed("The authorization server may not be called, or cannot be read.") from error

    async def get(self, url: str) -> dict[str, Any] | None:
        """Return the JSON object at an address, if there is one."""
        response = await self.send("GET", url, headers={"Accept": "application/json"})
        return object_in(response) if response.is_success else None

    async def post_form(
        self, url: str, form: Mapping[str, str], auth: tuple[str, str] | None = None
    ) -> dict[str, Any]:
        """Return the answer to a form; raises GrantRefused, McpServerUnavailable, McpSignInFailed."""
        headers = {"Accept": "application/json"}
        response = await self.send("POST", url, data=dict(form), headers=headers, auth=auth)
        if response.is_server_error or response.status_code in TRANSIENT_STATUSES:
            raise McpServerUnavailable("The authorization server does not answer.")
        answer = object_in(response) or {}
        if not response.is_success:
            if refusal := FINAL_ERRORS.get(str(answer.get("error"))):
                raise refusal
            raise McpSignInFailed("The authorization server refuses the request.")
        return answer


def object_in(response: httpx2.Response) -> dict[str, Any] | None:
    """Return the JSON object of a response, if it is one."""
    if len(response.content) > MAX_BYTES:
        return None
    try:
        value = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None

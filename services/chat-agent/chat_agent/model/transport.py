"""Requests to a provider over kept connections; they fail by the exceptions of OpenAI's client."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx2
import openai
from aiohttp.abc import AbstractResolver
from servicekit.http.client import in_pieces

from chat_agent.model.json import Json, parse
from chat_agent.model.sse import StreamInterrupted

# Of an error no more is read than says which one it is.
MAX_ERROR = 64 * 1024
STATUS_ERRORS: dict[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
}


@dataclass(frozen=True)
class ErrorBody:
    """What the body of an error says: an object with OpenAI's members, how long to wait, the true status."""

    error: Any = None
    retry_after: str | None = None
    status: int | None = None


def openai_error(body: Json) -> ErrorBody:
    """Read an error of OpenAI's protocol."""
    return ErrorBody(body.get("error"))


class Connections:
    """Kept connections, which clients with different keys may share."""

    def __init__(
        self, connect_seconds: float, resolver: AbstractResolver | None = None, *, trust_env: bool = True
    ) -> None:
        self._connect_seconds = connect_seconds
        self._resolver = resolver
        self._trust_env = trust_env
        self._session: aiohttp.ClientSession | None = None

    def session(self) -> aiohttp.ClientSession:
        """Return the session, which can be made only where a loop is running."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # How many runs there may be is limited where they begin.
                connector=aiohttp.TCPConnector(limit=0, resolver=self._resolver),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_seconds),
                # What a server sets for one key is nothing to another.
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=self._trust_env,
            )
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


class Transport:
    """One provider's address and credentials, and the connections to it."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        connect_seconds: float,
        read_error: Callable[[Json], ErrorBody] = openai_error,
        connections: Connections | None = None,
    ) -> None:
        self.base_url = httpx2.URL(base_url.rstrip("/"))
        self._headers = {**headers, "Content-Type": "application/json"}
        self._read_error = read_error
        self._is_shared = connections is not None
        self._connections = connections or Connections(connect_seconds)

    async def close(self) -> None:
        """Close the connections, unless other clients share them."""
        if not self._is_shared:
            await self._connections.close()

    @asynccontextmanager
    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str], query: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; raises what OpenAI's client raises for an error's status, or without an answer."""
        request = httpx2.Request("POST", f"{self.base_url}/{path}")
        try:
            async with self._send(str(request.url), body, headers, query) as answer:
                if answer.status >= 400:
                    content = await answer.content.read(MAX_ERROR)
                    raise status_error(request, answer.status, answer.headers, self._read_body(content))
                yield answer
        except (TimeoutError, aiohttp.ServerTimeoutError) as error:
            raise openai.APITimeoutError(request=request) from error
        except (aiohttp.ClientError, StreamInterrupted, OSError) as error:
            raise openai.APIConnectionError(request=request) from error

    def _send(
        self, url: str, body: bytes, headers: Mapping[str, str], query: Mapping[str, str] | None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._connections.session().post(
            url,
            data=in_pieces(body),
            headers={**self._headers, **headers},
            params=query,
            allow_redirects=False,
        )

    def _read_body(self, content: bytes) -> ErrorBody:
        try:
            return self._read_error(parse(content))
        except ValueError:
            return ErrorBody()


def request_of(answer: aiohttp.ClientResponse) -> httpx2.Request:
    """Return the request of a response."""
    return httpx2.Request("POST", str(answer.url))


def status_error(
    request: httpx2.Request, status: int, headers: Mapping[str, str], body: ErrorBody
) -> openai.APIStatusError:
    """Build the exception of OpenAI's client for a status."""
    status = body.status or status
    fallback = openai.InternalServerError if status >= 500 else openai.APIStatusError
    wait = {"retry-after": body.retry_after} if body.retry_after and "retry-after" not in headers else {}
    response = httpx2.Response(status, headers={**headers, **wait}, request=request)
    return STATUS_ERRORS.get(status, fallback)(f"status {status}", response=response, body=body.error)

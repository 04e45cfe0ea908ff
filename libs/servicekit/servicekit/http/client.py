"""An HTTP client for calls between services, bounded in time and number."""

import json as stdlib_json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from io import BytesIO
from urllib.parse import urlencode, urlsplit

import aiohttp
import orjson
import stamina
from opentelemetry import propagate
from pydantic import JsonValue

from servicekit.context import request_id
from servicekit.errors import Unavailable
from servicekit.request_limits import LARGE_BODY

logger = logging.getLogger(__name__)

TIMEOUT = aiohttp.ClientTimeout(total=10, sock_connect=2)
# Shorter than the five seconds of uvicorn, so that none is taken up again while it is being closed.
KEEP_ALIVE_SECONDS = 4
RETRIABLE = frozenset({502, 503, 504})


class DependencyUnavailable(Unavailable):
    """Another service does not answer."""


class NoResponse(Exception):
    """No response, or one after which a retry may succeed; the message says which."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """The response of another service."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)

    def json(self) -> JsonValue:
        """Read the body."""
        value: JsonValue = orjson.loads(self.body)
        return value


class HttpPool:
    """The connections of a process to other services: opened when they are needed, and kept alive."""

    def __init__(self, traces: Sequence[aiohttp.TraceConfig] = ()) -> None:
        self._traces = list(traces)
        self._session: aiohttp.ClientSession | None = None

    async def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, proxy: str | None = None
    ) -> HttpResponse:
        """Send a request once, and read the whole response; raises NoResponse."""
        if self._session is None:
            self._session = self._open()
        try:
            async with self._session.request(
                method, url, headers=headers, data=in_pieces(body), allow_redirects=False, proxy=proxy
            ) as response:
                return HttpResponse(response.status, await response.read(), response.headers)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoResponse(type(error).__name__) from error

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        """Create the session; aiohttp needs a running event loop for that."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(keepalive_timeout=KEEP_ALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=TIMEOUT,
            trust_env=False,
            middlewares=[_no_retries],
            trace_configs=self._traces,
        )


async def _no_retries(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Disable aiohttp's own retries of idempotent methods."""
    try:
        return await send(request)
    except aiohttp.ClientConnectionError as error:
        raise NoResponse(type(error).__name__) from error


def in_pieces(body: bytes | None) -> bytes | BytesIO | None:
    """Return a body in the form that is written piece by piece if it is large."""
    return BytesIO(body) if body is not None and len(body) > LARGE_BODY else body


async def send(  # noqa: PLR0913  # the parts of a request
    http: HttpPool,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    json: JsonValue = None,
    data: Mapping[str, str] | None = None,
    params: Mapping[str, str | int] | None = None,
) -> HttpResponse:
    """Send one idempotent request, with trace and request id, at most three times within eight seconds."""
    body, carried = _encode_body(json, data)
    carried.update(headers or {})
    propagate.inject(carried)
    if known_as := request_id():
        carried["X-Request-Id"] = known_as
    address = f"{url}?{urlencode(params)}" if params else url
    try:
        async for attempt in stamina.retry_context(
            on=NoResponse, attempts=3, timeout=8, wait_initial=0.1, wait_max=1
        ):
            with attempt:
                return await _attempt(http, method, address, carried, body)
    except NoResponse as failure:
        extra = {"host": urlsplit(url).hostname, "reason": str(failure)}
        logger.warning("dependency unavailable", extra=extra)
        raise DependencyUnavailable from failure
    raise AssertionError  # pragma: no cover - the loop above returns or raises


def _encode_body(json: JsonValue, form: Mapping[str, str] | None) -> tuple[bytes | None, dict[str, str]]:
    """Return the body, and the headers that say what it is."""
    if form is not None:
        return urlencode(form).encode(), {"Content-Type": "application/x-www-form-urlencoded"}
    if json is None:
        return None, {}
    try:
        body = orjson.dumps(json)
    except orjson.JSONEncodeError:  # a number of more than 64 bits
        body = stdlib_json.dumps(json).encode()
    return body, {"Content-Type": "application/json"}


async def _attempt(
    http: HttpPool, method: str, url: str, headers: Mapping[str, str], body: bytes | None
) -> HttpResponse:
    answer = await http.exchange(method, url, headers, body)
    if answer.status in RETRIABLE:
        raise NoResponse(str(answer.status))
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise DependencyUnavailable
    return answer

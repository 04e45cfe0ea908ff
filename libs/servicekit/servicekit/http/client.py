"""Calls from one service to another: with its own token, on somebody's behalf, bounded in time and number."""

import asyncio
import json as stdlib_json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlencode, urlsplit
from uuid import UUID

import aiohttp
import orjson
import stamina
from opentelemetry import propagate
from pydantic import BaseModel, JsonValue, SecretStr

from servicekit.context import request_id
from servicekit.errors import Unavailable

logger = logging.getLogger(__name__)

TIMEOUT = aiohttp.ClientTimeout(total=10, sock_connect=2)
# Shorter than the five seconds of uvicorn, so that none is taken up again while it is being closed.
KEEP_ALIVE_SECONDS = 4
# A token is renewed this long before it expires, so that none expires on its way.
RENEW_SECONDS = 60
RETRIABLE = frozenset({502, 503, 504})


class DependencyUnavailable(Unavailable):
    """Another service does not answer."""


class NoResponse(Exception):
    """No answer came, or one that another attempt may mend; says which."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What another service has answered."""

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
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> HttpResponse:
        """Send a request once, and take in the whole answer; raises Unanswered."""
        if self._session is None:
            self._session = self._open()
        try:
            async with self._session.request(
                method, url, headers=headers, data=body, allow_redirects=False
            ) as response:
                return HttpResponse(response.status, await response.read(), response.headers)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoResponse(type(error).__name__) from error

    async def aclose(self) -> None:
        """Close them all, for good."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        """Make the session, which can be made only where a loop is running."""
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
    """Keep aiohttp from trying again by itself, as it does when it knows a method for idempotent."""
    try:
        return await send(request)
    except aiohttp.ClientConnectionError as error:
        raise NoResponse(type(error).__name__) from error


class IssuedToken(BaseModel):
    """auth's answer with a token."""

    access_token: str
    expires_in: float


class ServiceTokens:
    """A service's own access tokens, got by client credentials (RFC 6749 4.4) and kept until they age."""

    def __init__(self, http: HttpPool, auth_url: str, client_id: str, secret: SecretStr | None) -> None:
        self._http = http
        self._url = f"{auth_url.rstrip('/')}/internal/v1/oauth/token"
        self._credentials = (client_id, secret)
        self._kept: dict[tuple[str, str], tuple[str, float]] = {}
        self._lock = asyncio.Lock()

    async def send(  # noqa: PLR0913  # the parts of a request
        self,
        http: HttpPool,
        audience: str,
        scope: str,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: JsonValue = None,
        params: Mapping[str, str | int] | None = None,
    ) -> HttpResponse:
        """Send a request with a token for one service; when it is refused, once more with a new one.

        A token may be refused before its time: the key that signed it may have been revoked.
        """
        refused: str | None = None
        while True:
            token = await self.get(audience, scope, refused=refused)
            carried = {**(headers or {}), "Authorization": f"Bearer {token}"}
            answer = await send(http, method, url, headers=carried, json=json, params=params)
            if answer.status != HTTPStatus.UNAUTHORIZED or refused is not None:
                return answer
            refused = token

    async def get(self, audience: str, scope: str, *, refused: str | None = None) -> str:
        """Return a token for one service, not the `refused` one; raises DependencyUnavailable without one."""
        async with self._lock:
            token, expires = self._kept.get((audience, scope), ("", 0.0))
            if time.monotonic() >= expires - RENEW_SECONDS or token == refused:
                token, expires = await self._fetch(audience, scope)
                self._kept[audience, scope] = token, expires
            return token

    async def _fetch(self, audience: str, scope: str) -> tuple[str, float]:
        client_id, secret = self._credentials
        if secret is None:
            raise DependencyUnavailable("This service has no credentials of its own (SERVICE_CLIENT_SECRET).")
        form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": secret.get_secret_value(),
            "audience": audience,
            "scope": scope,
        }
        answer = await send(self._http, "POST", self._url, data=form)
        if answer.status != HTTPStatus.OK:
            logger.error("service token refused", extra={"status": answer.status, "audience": audience})
            raise DependencyUnavailable
        issued = IssuedToken.model_validate_json(answer.body)
        return issued.access_token, time.monotonic() + issued.expires_in


@dataclass(frozen=True)
class ServiceClient:
    """One other service, called over its internal port."""

    http: HttpPool
    tokens: ServiceTokens
    base_url: str
    audience: str
    scope: str

    async def request(  # the parts of a request
        self,
        method: str,
        path: str,
        *,
        on_behalf_of: tuple[UUID, str],
        json: JsonValue = None,
        params: Mapping[str, str | int] | None = None,
    ) -> HttpResponse:
        """Call `/internal/v1{path}` for a person of a tenant; every route called this way must be idempotent.

        Answers below 500 are given back as they are; raises DependencyUnavailable when there is none.
        """
        tenant_id, subject = on_behalf_of
        headers = {"Acme-On-Behalf-Of": f"{tenant_id}/{subject}"}
        url = f"{self.base_url.rstrip('/')}/internal/v1{path}"
        return await self.tokens.send(
            self.http, self.audience, self.scope, method, url, headers=headers, json=json, params=params
        )


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

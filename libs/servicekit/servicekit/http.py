"""Calls from one service to another: own token, on somebody's behalf, bounded in time and number."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import httpx
import stamina
from opentelemetry import propagate
from pydantic import JsonValue, SecretStr

from servicekit.context import request_id
from servicekit.errors import Unavailable

logger = logging.getLogger(__name__)

TIMEOUT = httpx.Timeout(10, connect=2)
# A token is renewed this long before it expires, so that none expires on its way.
RENEW_SECONDS = 60
RETRIABLE = frozenset({502, 503, 504})


class DependencyUnavailable(Unavailable):
    """Another service does not answer."""


class _TryAgain(Exception):
    """An answer, or the lack of one, that another attempt may mend."""


class ServiceTokens:
    """A service's own access tokens, got by client credentials (RFC 6749 4.4) and kept until they age."""

    def __init__(
        self, http: httpx.AsyncClient, auth_url: str, client_id: str, secret: SecretStr | None
    ) -> None:
        self._http = http
        self._url = f"{auth_url.rstrip('/')}/internal/v1/oauth/token"
        self._credentials = (client_id, secret)
        self._kept: dict[tuple[str, str], tuple[str, float]] = {}
        self._lock = asyncio.Lock()

    async def get(self, audience: str, scope: str) -> str:
        """Give a token for one service; raises DependencyUnavailable when auth does not issue one."""
        async with self._lock:
            token, expires = self._kept.get((audience, scope), ("", 0.0))
            if time.monotonic() >= expires - RENEW_SECONDS:
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
        response = await send(self._http, "POST", self._url, data=form)
        if response.status_code != httpx.codes.OK:
            logger.error(
                "service token refused", extra={"status": response.status_code, "audience": audience}
            )
            raise DependencyUnavailable
        answer = response.json()
        return answer["access_token"], time.monotonic() + answer["expires_in"]


@dataclass(frozen=True)
class ServiceClient:
    """One other service, called over its internal port."""

    http: httpx.AsyncClient
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
    ) -> httpx.Response:
        """Call `/internal/v1{path}` for a person of a tenant; every route called this way must be idempotent.

        Answers below 500 are given back as they are; raises DependencyUnavailable when there is none.
        """
        tenant_id, subject = on_behalf_of
        headers = {
            "Authorization": f"Bearer {await self.tokens.get(self.audience, self.scope)}",
            "Acme-On-Behalf-Of": f"{tenant_id}/{subject}",
        }
        url = f"{self.base_url.rstrip('/')}/internal/v1{path}"
        return await send(self.http, method, url, headers=headers, json=json, params=params)


async def send(  # noqa: PLR0913  # the parts of a request
    http: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    json: JsonValue = None,
    data: Mapping[str, str] | None = None,
    params: Mapping[str, str | int] | None = None,
) -> httpx.Response:
    """Send one idempotent request, with trace and request id, at most three times within eight seconds."""
    carried = dict(headers or {})
    propagate.inject(carried)
    if request_id():
        carried["X-Request-Id"] = request_id() or ""
    request = http.build_request(method, url, headers=carried, json=json, data=data, params=params)
    try:
        async for attempt in stamina.retry_context(
            on=_TryAgain, attempts=3, timeout=8, wait_initial=0.1, wait_max=1
        ):
            with attempt:
                return await _attempt(http, request)
    except _TryAgain as failure:
        logger.warning("dependency unavailable", extra={"host": request.url.host, "reason": str(failure)})
        raise DependencyUnavailable from failure
    raise AssertionError  # pragma: no cover - the loop above returns or raises


async def _attempt(http: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    try:
        response = await http.send(request)
    except httpx.TransportError as error:
        raise _TryAgain(type(error).__name__) from error
    if response.status_code in RETRIABLE:
        raise _TryAgain(str(response.status_code))
    if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise DependencyUnavailable
    return response

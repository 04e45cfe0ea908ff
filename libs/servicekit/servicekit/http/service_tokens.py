"""Calls from one service to another: with its own token, on somebody's behalf."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple
from uuid import UUID

from pydantic import BaseModel, JsonValue, SecretStr

from servicekit.backoff import Clock
from servicekit.http.client import DependencyUnavailable, HttpPool, HttpResponse, send
from servicekit.workers.base import LoopWorker

logger = logging.getLogger(__name__)

# A token with less time left is not sent, so that none expires on its way.
MIN_SECONDS_LEFT = 10.0
# The longest wait between two looks at what is to be renewed.
MAX_IDLE_SECONDS = 15.0
# Seconds to wait after the first failed renewal in a row, and at most.
RENEWAL_BACKOFF = (1.0, 60.0)


class IssuedToken(BaseModel):
    """auth's answer with a token."""

    access_token: str
    expires_in: float


class CachedToken(NamedTuple):
    """A token, and until when it is used, and when it is renewed (monotonic)."""

    value: str
    usable_until: float
    renew_at: float


class ServiceTokens(LoopWorker):
    """A service's own access tokens, by client credentials (RFC 6749 4.4).

    As a worker, it renews each token when half of its lifetime is over: a service whose auth is away goes on
    calling the others for the other half.
    """

    def __init__(
        self,
        http: HttpPool,
        auth_url: str,
        client_id: str,
        secret: SecretStr | None,
        clock: Clock = time.monotonic,
    ) -> None:
        super().__init__("service tokens", RENEWAL_BACKOFF)
        self._http = http
        self._url = f"{auth_url.rstrip('/')}/internal/v1/oauth/token"
        self._credentials = (client_id, secret)
        self._clock = clock
        # By audience and scope; none for one that was not fetched yet.
        self._cache: dict[tuple[str, str], CachedToken | None] = {}
        self._lock = asyncio.Lock()

    def require(self, audience: str, scope: str) -> None:
        """Have a token for one service fetched before its first use."""
        self._cache.setdefault((audience, scope), None)

    async def begin(self) -> None:
        """Nothing has to be prepared."""

    async def step(self) -> float:
        """Fetch the tokens that are due; raises DependencyUnavailable when one could not be."""
        failure: DependencyUnavailable | None = None
        now = self._clock()
        for key in [key for key, token in self._cache.items() if token is None or now >= token.renew_at]:
            try:
                await self._fetch(key)
            except DependencyUnavailable as error:
                failure = error
        if failure is not None:
            raise failure
        pauses = [token.renew_at - self._clock() for token in self._cache.values() if token]
        return max(0.0, min([MAX_IDLE_SECONDS, *pauses]))

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
        """Return a token for one service, other than the `refused` one; raises DependencyUnavailable."""
        key = (audience, scope)
        if token := self._cached(key, refused):
            return token
        async with self._lock:
            return self._cached(key, refused) or await self._fetch(key)

    def _cached(self, key: tuple[str, str], refused: str | None) -> str | None:
        token = self._cache.get(key)
        if token is None or token.value == refused or self._clock() >= token.usable_until:
            return None
        return token.value

    async def _fetch(self, key: tuple[str, str]) -> str:
        audience, scope = key
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
        now = self._clock()
        self._cache[key] = CachedToken(
            issued.access_token, now + issued.expires_in - MIN_SECONDS_LEFT, now + issued.expires_in / 2
        )
        return issued.access_token


@dataclass(frozen=True)
class ServiceClient:
    """A client of another service's internal port."""

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

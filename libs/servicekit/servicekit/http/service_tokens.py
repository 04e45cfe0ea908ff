"""Calls from one service to another: with its own token, on somebody's behalf."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from uuid import UUID

from pydantic import BaseModel, JsonValue, SecretStr

from servicekit.http.client import DependencyUnavailable, HttpPool, HttpResponse, send

logger = logging.getLogger(__name__)

# A token is renewed this long before it expires, so that none expires on its way.
RENEW_SECONDS = 60


class IssuedToken(BaseModel):
    """auth's answer with a token."""

    access_token: str
    expires_in: float


class ServiceTokens:
    """A service's own access tokens, by client credentials (RFC 6749 4.4), cached until they age."""

    def __init__(self, http: HttpPool, auth_url: str, client_id: str, secret: SecretStr | None) -> None:
        self._http = http
        self._url = f"{auth_url.rstrip('/')}/internal/v1/oauth/token"
        self._credentials = (client_id, secret)
        self._cache: dict[tuple[str, str], tuple[str, float]] = {}
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
        """Return a token for one service, other than the `refused` one; raises DependencyUnavailable."""
        async with self._lock:
            token, expires = self._cache.get((audience, scope), ("", 0.0))
            if time.monotonic() >= expires - RENEW_SECONDS or token == refused:
                token, expires = await self._fetch(audience, scope)
                self._cache[audience, scope] = token, expires
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

"""How a client identifies itself: by a token, a person's password, or a service account's secret."""

import math
import time
from abc import ABC, abstractmethod
from asyncio import Lock
from datetime import datetime
from typing import Any

import httpx

from acme_client.errors import ApiError
from acme_client.responses import check

RENEW_BEFORE_SECONDS = 30


class Credentials(ABC):
    """An access token, renewed by one task at a time; clients that share the object share the token."""

    def __init__(self) -> None:
        self._token = ""
        self._expires_at = 0.0
        self._lock = Lock()

    async def access_token(self, http: httpx.AsyncClient, base_url: str, refused: str = "") -> str:
        """Return a token that is valid for a while, and is not the one that was refused."""
        if not self._is_valid(refused):
            async with self._lock:
                if not self._is_valid(refused):
                    await self._renew(http, f"{base_url}/api/v1/auth")
        return self._token

    def _is_valid(self, refused: str) -> bool:
        return self._token != refused and self._expires_at - time.time() > RENEW_BEFORE_SECONDS

    @abstractmethod
    async def _renew(self, http: httpx.AsyncClient, url: str) -> None:
        """Get another token from auth."""


class AccessToken(Credentials):
    """An API key, or an access token that somebody else renews."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token, self._expires_at = token, math.inf

    async def _renew(self, http: httpx.AsyncClient, url: str) -> None:
        """Leave the token as it is: the server says what is wrong with it."""


class Password(Credentials):
    """A person's email address and password: a session, which begins anew when it has ended."""

    def __init__(self, email: str, password: str) -> None:
        super().__init__()
        self._body = {"email": email, "password": password}
        self._refresh_token = ""

    async def sign_out(self, http: httpx.AsyncClient, base_url: str) -> None:
        """End the session, if there is one; the next request would begin another."""
        refresh_token, self._refresh_token, self._expires_at = self._refresh_token, "", 0.0
        if refresh_token:
            body = {"refresh_token": refresh_token}
            await check(await http.post(f"{base_url}/api/v1/auth/logout", json=body))

    async def _renew(self, http: httpx.AsyncClient, url: str) -> None:
        session = await self._refresh(http, url) or await post(http, f"{url}/token", json=self._body)
        self._token, self._refresh_token = session["access_token"], session["refresh_token"]
        self._expires_at = datetime.fromisoformat(session["expires_at"]).timestamp()

    async def _refresh(self, http: httpx.AsyncClient, url: str) -> dict[str, Any] | None:
        if not self._refresh_token:
            return None
        try:
            return await post(http, f"{url}/refresh", json={"refresh_token": self._refresh_token})
        except ApiError as error:
            if error.status != httpx.codes.UNAUTHORIZED:
                raise
            self._refresh_token = ""
            return None


class ClientCredentials(Credentials):
    """A service account's id and secret (RFC 6749 section 4.4); without a scope, all of its scopes."""

    def __init__(self, client_id: str, client_secret: str, scope: str = "") -> None:
        super().__init__()
        self._form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
            "scope": scope,
        }

    async def _renew(self, http: httpx.AsyncClient, url: str) -> None:
        answer = await post(http, f"{url}/oauth/token", data=self._form)
        self._token = answer["access_token"]
        self._expires_at = time.time() + answer["expires_in"]


async def post(http: httpx.AsyncClient, url: str, **body: Any) -> dict[str, Any]:
    """Post without a token; raises ApiError."""
    response = await http.post(url, **body)
    await check(response)
    answer: dict[str, Any] = response.json()
    return answer

"""Vault's Transit engine, which verifies the signatures that vouch for service accounts.

Errors are told apart by whose fault they are: `VaultRefused` is about what was asked, `VaultUnavailable` is
about Vault, our token or its policy.
"""

import asyncio
import base64
import logging
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Self

import orjson
import stamina
from pydantic import JsonValue, SecretStr
from servicekit.errors import Unavailable
from servicekit.http import Answer, Connections, Unanswered
from servicekit.steady import Steady

from auth.settings import Settings

logger = logging.getLogger(__name__)

ATTEMPT_SECONDS = 2.0
ATTEMPTS = 3
WITHIN_SECONDS = 2.0
AT_ONCE = 8
# So many failures in a row, and Vault is left alone for so long.
FAILURES = 5
PAUSE_SECONDS = 15.0
RETRIABLE = frozenset({412, 429, 472, 473, 500, 501, 502, 503})
SHORTEST_RENEWAL, LONGEST_RENEWAL = 60.0, 43_200.0


class VaultUnavailable(Unavailable):
    """Vault does not answer, or not to us; nothing is issued without it."""


class VaultRefused(Exception):
    """Vault says that what was asked makes no sense; quotes its words."""


class Vault:
    """One Transit key of a Vault."""

    def __init__(
        self,
        http: Connections,
        address: str | None,
        token: SecretStr | None,
        key: str | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._address = (address or "").rstrip("/")
        self._token = token
        self._key = key
        self._clock = clock
        self._room = asyncio.Semaphore(AT_ONCE)
        self._failures = 0
        self._closed_until = 0.0

    @classmethod
    def of(cls, settings: Settings, http: Connections) -> Self:
        """Build from the settings."""
        return cls(http, settings.vault_addr, settings.vault_token, settings.vault_transit_key)

    @property
    def is_configured(self) -> bool:
        """Whether there is a Vault to ask."""
        return bool(self._address and self._token and self._key)

    async def verify(self, data: bytes, signature: str) -> bool:
        """Tell whether `vault:v1:...` is the key's signature of these bytes; raises VaultUnavailable."""
        asked: dict[str, JsonValue] = {"input": base64.b64encode(data).decode(), "signature": signature}
        try:
            answer = await self._call("POST", f"transit/verify/{self._key}", asked)
        except VaultRefused as refusal:
            if "key not found" in str(refusal):
                logger.error("vault has no such transit key")
                raise VaultUnavailable from None
            return False
        return answer.get("valid") is True

    async def renew(self) -> float:
        """Renew our token; gives the seconds that it lives from now, 0 when it does not end."""
        answer = await self._call("POST", "auth/token/renew-self", {}, part="auth")
        return float(answer.get("lease_duration") or 0)

    async def _call(
        self, method: str, path: str, body: dict[str, JsonValue] | None = None, *, part: str = "data"
    ) -> dict[str, Any]:
        if not self.is_configured or self._clock() < self._closed_until:
            raise VaultUnavailable
        try:
            async with self._room, asyncio.timeout(WITHIN_SECONDS * 2):
                answer = await self._attempts(method, path, body)
        except (Unanswered, TimeoutError) as failure:
            self._fail(str(failure) or type(failure).__name__)
            raise VaultUnavailable from None
        self._failures = 0
        if answer.status == HTTPStatus.BAD_REQUEST:
            raise VaultRefused(errors_of(answer))
        if answer.status != HTTPStatus.OK:
            # 403: the token has run out, or the policy forbids it; 404: there is no such key.
            logger.error("vault refuses us", extra={"status": answer.status, "path": path})
            raise VaultUnavailable
        told = answer.json()
        found = told.get(part) if isinstance(told, dict) else None
        return found if isinstance(found, dict) else {}

    async def _attempts(self, method: str, path: str, body: JsonValue) -> Answer:
        async for attempt in stamina.retry_context(
            on=Unanswered, attempts=ATTEMPTS, timeout=WITHIN_SECONDS, wait_initial=0.05, wait_max=0.3
        ):
            with attempt:
                return await self._attempt(method, path, body)
        raise AssertionError  # pragma: no cover - the loop above returns or raises

    async def _attempt(self, method: str, path: str, body: JsonValue) -> Answer:
        token = self._token.get_secret_value() if self._token else ""
        headers = {"X-Vault-Token": token, "X-Vault-Request": "true", "Content-Type": "application/json"}
        told = None if body is None else orjson.dumps(body)
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                answer = await self._http.exchange(method, f"{self._address}/v1/{path}", headers, told)
        except TimeoutError as error:
            raise Unanswered("timeout") from error
        if answer.status in RETRIABLE:
            raise Unanswered(str(answer.status))
        return answer

    def _fail(self, reason: str) -> None:
        self._failures += 1
        logger.warning("vault does not answer", extra={"reason": reason, "failures": self._failures})
        if self._failures >= FAILURES:
            self._closed_until = self._clock() + PAUSE_SECONDS


def errors_of(answer: Answer) -> str:
    """Give Vault's words for what was wrong."""
    try:
        told: Any = answer.json()
        return "; ".join(str(error) for error in told["errors"])
    except (ValueError, KeyError, TypeError):
        return "unreadable"


class VaultTokenRenewal(Steady):
    """Renews our token for Vault when a third of its life is left."""

    def __init__(self, vault: Vault) -> None:
        super().__init__("vault-token")
        self._vault = vault

    async def begin(self) -> None:
        """Begin at once."""

    def healthy(self) -> bool:
        """Be no reason to leave this replica alone: nearly all of its work needs no Vault."""
        return True

    async def step(self) -> float:
        """Renew it once."""
        try:
            lease = await self._vault.renew()
        except VaultRefused:
            # A root token, or one without a period: it cannot be renewed, and need not be.
            return LONGEST_RENEWAL
        return min(max(lease * 2 / 3, SHORTEST_RENEWAL), LONGEST_RENEWAL)

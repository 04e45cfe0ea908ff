"""Vault's Transit engine: verifies signatures for service accounts, and may sign access tokens.

Errors name whose fault they are: `VaultRequestRejected` is about the request, `VaultUnavailable` is
about Vault, our token or its policy.
"""

import asyncio
import base64
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Self

import orjson
import stamina
from pydantic import JsonValue
from servicekit.auth import jose
from servicekit.errors import Unavailable
from servicekit.http.client import HttpPool, HttpResponse, NoResponse
from servicekit.workers.base import LoopWorker

from auth.settings import Settings

logger = logging.getLogger(__name__)

ATTEMPTS = 3
# So many failures in a row, and Vault is left alone for so long.
FAILURES = 5
PAUSE_SECONDS = 15.0
RETRIABLE = frozenset({412, 429, 472, 473, 500, 501, 502, 503})
SHORTEST_RENEWAL, LONGEST_RENEWAL = 60.0, 43_200.0


class VaultUnavailable(Unavailable):
    """Vault does not answer, or rejects our token."""


class VaultRequestRejected(Exception):
    """Vault rejected the request; the message quotes its answer."""


@dataclass(frozen=True)
class Timeouts:
    """How long one attempt may take, all of them, and the wait for room (seconds); how many have room."""

    attempt: float
    total: float
    queue: float
    max_concurrent: int


VERIFYING = Timeouts(attempt=2, total=4, queue=4, max_concurrent=8)
# A transaction waits for it: what comes of it without a signature must not be half done. So there is little
# time, and never a queue.
SIGNING = Timeouts(attempt=1, total=2, queue=0.05, max_concurrent=8)


class Vault:
    """The Transit engine of a Vault; `key` is the one that it verifies with."""

    def __init__(  # noqa: PLR0913, PLR0917  # where it is, who we are, and how long we wait
        self,
        http: HttpPool,
        address: str | None,
        token: Callable[[], str],
        key: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        timeouts: Timeouts = VERIFYING,
    ) -> None:
        self._http = http
        self._address = (address or "").rstrip("/")
        self._token_now = token
        self._token = token()
        self._key = key
        self._clock = clock
        self._timeouts = timeouts
        self._room = asyncio.Semaphore(timeouts.max_concurrent)
        self._failures = 0
        self._closed_until = 0.0

    @classmethod
    def from_settings(cls, settings: Settings, http: HttpPool) -> Self:
        """Build from the settings."""
        return cls(
            http,
            settings.vault_addr,
            settings.current_vault_token,
            settings.vault_transit_key,
            timeouts=VERIFYING,
        )

    @classmethod
    def for_signing(cls, settings: Settings, http: HttpPool) -> Self:
        """Build a client with short timeouts, for calls while a transaction is open."""
        # Half of the connections to the database, at most, wait for Vault; the rest is for everybody else.
        timeouts = replace(SIGNING, max_concurrent=settings.database_pool_size)
        return cls(http, settings.vault_addr, settings.current_vault_token, timeouts=timeouts)

    @property
    def is_configured(self) -> bool:
        """Whether Vault is configured."""
        self._token = self._token or self._token_now()
        return bool(self._address and self._token)

    async def sign(self, name: str, version: int, data: bytes) -> bytes:
        """Sign with one version of a Transit key, which is Ed25519; raises VaultUnavailable."""
        body: dict[str, JsonValue] = {
            "input": base64.b64encode(data).decode(),
            "key_version": version,
            "marshaling_algorithm": "jws",
        }
        try:
            response = await self._call("POST", f"transit/sign/{name}", body)
            return raw_signature(str(response.get("signature")), version)
        except (VaultRequestRejected, ValueError) as refusal:
            logger.error("vault does not sign", extra={"reason": str(refusal), "version": version})
            raise VaultUnavailable from None

    async def verify(self, data: bytes, signature: str) -> bool:
        """Return whether `vault:v1:...` is the key's signature of these bytes; raises VaultUnavailable."""
        if not self._key:
            raise VaultUnavailable
        body: dict[str, JsonValue] = {"input": base64.b64encode(data).decode(), "signature": signature}
        try:
            response = await self._call("POST", f"transit/verify/{self._key}", body)
        except VaultRequestRejected as refusal:
            if "key not found" in str(refusal):
                logger.error("vault has no such transit key")
                raise VaultUnavailable from None
            return False
        return response.get("valid") is True

    async def renew(self) -> float:
        """Renew our token; returns the seconds that it lives from now, 0 when it does not end."""
        response = await self._call("POST", "auth/token/renew-self", {}, part="auth")
        return float(response.get("lease_duration") or 0)

    async def _call(
        self, method: str, path: str, body: dict[str, JsonValue] | None = None, *, part: str = "data"
    ) -> dict[str, Any]:
        if not self.is_configured or not self._may_ask():
            raise VaultUnavailable
        async with self._with_room():
            response = await self._answer(method, path, body)
        if response.status == HTTPStatus.BAD_REQUEST:
            raise VaultRequestRejected(errors_of(response))
        if response.status != HTTPStatus.OK:
            # 403: the token has run out, or the policy forbids it; 404: there is no such key.
            logger.error("vault refuses us", extra={"status": response.status, "path": path})
            raise VaultUnavailable
        document = response.json()
        result = document.get(part) if isinstance(document, dict) else None
        return result if isinstance(result, dict) else {}

    def _may_ask(self) -> bool:
        """Return whether Vault may be called; after a pause one call tries, the others once it succeeded."""
        if self._failures < FAILURES:
            return True
        if self._clock() < self._closed_until:
            return False
        self._closed_until = self._clock() + PAUSE_SECONDS
        return True

    @asynccontextmanager
    async def _with_room(self) -> AsyncIterator[None]:
        """Limit concurrent calls; raises VaultUnavailable when there is no room in time."""
        try:
            async with asyncio.timeout(self._timeouts.queue):
                await self._room.acquire()
        except TimeoutError:
            raise VaultUnavailable from None
        try:
            yield
        finally:
            self._room.release()

    async def _answer(self, method: str, path: str, body: JsonValue) -> HttpResponse:
        try:
            async with asyncio.timeout(self._timeouts.total):
                token = self._token
                response = await self._attempts(method, path, body)
                if response.status == HTTPStatus.FORBIDDEN and self._has_another_token(token):
                    response = await self._attempts(method, path, body)
        except (NoResponse, TimeoutError) as failure:
            self._fail(str(failure) or type(failure).__name__)
            raise VaultUnavailable from None
        self._failures = 0
        return response

    def _has_another_token(self, refused: str) -> bool:
        """Return the current Vault token, which Vault's agent may have renewed in a file."""
        self._token = self._token_now()
        return self._token not in {refused, ""}

    async def _attempts(self, method: str, path: str, body: JsonValue) -> HttpResponse:
        async for attempt in stamina.retry_context(
            on=NoResponse,
            attempts=ATTEMPTS,
            timeout=self._timeouts.total,
            wait_initial=0.05,
            wait_max=0.3,
        ):
            with attempt:
                return await self._attempt(method, path, body)
        raise AssertionError  # pragma: no cover - the loop above returns or raises

    async def _attempt(self, method: str, path: str, body: JsonValue) -> HttpResponse:
        headers = {
            "X-Vault-Token": self._token,
            "X-Vault-Request": "true",
            "Content-Type": "application/json",
        }
        payload = None if body is None else orjson.dumps(body)
        try:
            async with asyncio.timeout(self._timeouts.attempt):
                response = await self._http.exchange(method, f"{self._address}/v1/{path}", headers, payload)
        except TimeoutError as error:
            raise NoResponse("timeout") from error
        if response.status in RETRIABLE:
            raise NoResponse(str(response.status))
        return response

    def _fail(self, reason: str) -> None:
        self._failures += 1
        logger.warning("vault does not answer", extra={"reason": reason, "failures": self._failures})
        if self._failures >= FAILURES:
            self._closed_until = self._clock() + PAUSE_SECONDS


def raw_signature(written: str, version: int) -> bytes:
    """Read `vault:v1:...`, in either alphabet of base64; raises ValueError when it is another version's."""
    prefix, _, text = written.rpartition(":")
    if prefix != f"vault:v{version}":
        raise ValueError("not a signature of this version")
    return jose.decode(text.rstrip("=").replace("+", "-").replace("/", "_"))


def errors_of(response: HttpResponse) -> str:
    """Return Vault's error messages."""
    try:
        document: Any = response.json()
        return "; ".join(str(error) for error in document["errors"])
    except (ValueError, KeyError, TypeError):
        return "unreadable"


class VaultTokenRenewal(LoopWorker):
    """Renews our token for Vault when a third of its lifetime is left."""

    def __init__(self, vault: Vault) -> None:
        super().__init__("vault-token")
        self._vault = vault

    async def begin(self) -> None:
        """Begin at once."""

    def healthy(self) -> bool:
        """Return True: without Vault the replica still does nearly all of its work."""
        return True

    async def step(self) -> float:
        """Renew it once."""
        try:
            lease = await self._vault.renew()
        except VaultRequestRejected:
            # A root token, or one without a period: it cannot be renewed, and need not be.
            return LONGEST_RENEWAL
        return min(max(lease * 2 / 3, SHORTEST_RENEWAL), LONGEST_RENEWAL)

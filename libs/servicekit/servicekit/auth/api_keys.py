"""API keys of tenants, distinguished from access tokens by their prefix.

auth introspects each, and the result is cached for a few seconds: a revoked key works no longer than that.
"""

import asyncio
import hashlib
import re
import time
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import NamedTuple
from uuid import UUID

from pydantic import BaseModel, JsonValue
from starlette.requests import HTTPConnection

from servicekit.auth.permissions import Role
from servicekit.auth.tokens import InvalidToken, Principal
from servicekit.backoff import Clock
from servicekit.client_ip import client_ip
from servicekit.errors import TooManyRequests
from servicekit.http.client import DependencyUnavailable, HttpPool
from servicekit.http.service_tokens import ServiceTokens

PREFIX = "acme_ak_"
# Id, secret (256 bits) and checksum, in hexadecimal.
SHAPE = re.compile(rf"{PREFIX}([0-9a-f]{{32}})_([0-9a-f]{{64}})([0-9a-f]{{8}})")
SCOPE = "api_keys:introspect"
CACHE_SECONDS = 3.0
MAX_CACHED = 4096

Check = Callable[[HTTPConnection, str], Awaitable[Principal]]


class InvalidApiKey(InvalidToken):
    """The API key does not work, whether it is mistyped, unknown or revoked."""

    default_detail = "Unknown API key. It may have been revoked, or may not be used from this address."


class ApiKeyExpired(InvalidApiKey):
    """The API key has expired."""

    default_detail = "The API key has expired. Create another."


class TooManyInvalidApiKeys(TooManyRequests):
    """Too many invalid keys came from this address."""


class Introspection(BaseModel):
    """auth's introspection of a key (after RFC 7662); of an invalid key only `active` and `expired`."""

    active: bool = False
    # Only who has the whole key learns that it has expired.
    expired: bool = False
    subject: str = ""
    client_id: str = ""
    tenant_id: UUID | None = None
    role: Role | None = None
    scopes: frozenset[str] = frozenset()
    email_verified: bool = False
    audience: tuple[str, ...] = ()
    issued_at: int = 0
    expires_at: int = 0

    def principal(self) -> Principal:
        """Return the key's principal; raises InvalidApiKey."""
        if self.expired:
            raise ApiKeyExpired("expired_api_key")
        # Without a scope a principal would be held to its role alone.
        if not self.active or not self.scopes or self.tenant_id is None or self.role is None:
            raise InvalidApiKey("api_key")
        return Principal(
            subject=self.subject,
            tenant_id=self.tenant_id,
            role=self.role,
            scopes=self.scopes,
            client_id=self.client_id,
            session_id=None,
            token_id=self.client_id,
            email_verified=self.email_verified,
            amr=(),
            auth_time=None,
            audience=self.audience,
            issued_at=self.issued_at,
            expires_at=self.expires_at,
        )


def is_api_key(token: str) -> bool:
    """Return whether a credential looks like an API key."""
    return token.startswith(PREFIX)


def checksum(text: str) -> str:
    """Return a key's checksum, by which a mistyped key is rejected without asking auth."""
    return f"{zlib.crc32(text.encode()):08x}"


def format_key(key_id: UUID, secret: str) -> str:
    """Format a key; `secret` is 64 hexadecimal digits."""
    plain = f"{PREFIX}{key_id.hex}_{secret}"
    return plain + checksum(plain)


def parse_key_id(key: str) -> UUID:
    """Return the id in a well-formed key; raises InvalidApiKey."""
    match = SHAPE.fullmatch(key)
    if match is None or checksum(key[:-8]) != match[3]:
        raise InvalidApiKey("malformed_api_key")
    return UUID(match[1])


class _CachedAnswer(NamedTuple):
    answer: asyncio.Task[Introspection]
    until: float


class ApiKeyIntrospector:
    """Introspects keys at auth, once for concurrent requests; DependencyUnavailable while it is down."""

    def __init__(
        self, http: HttpPool, tokens: ServiceTokens, auth_url: str, clock: Clock = time.monotonic
    ) -> None:
        self._http = http
        self._tokens = tokens
        self._url = f"{auth_url.rstrip('/')}/internal/v1/api-keys/introspect"
        self._clock = clock
        # By digest: no key lies about in memory for longer than its request.
        self._cache: OrderedDict[bytes, _CachedAnswer] = OrderedDict()

    async def __call__(self, connection: HTTPConnection, key: str) -> Principal:
        """Return a key's principal; raises InvalidApiKey, TooManyInvalidApiKeys or DependencyUnavailable."""
        parse_key_id(key)
        address = client_ip(connection)
        name = hashlib.sha256(f"{address} {key}".encode()).digest()
        cached = self._cache.get(name)
        # Counted from before auth is asked, so that the bound holds however long the answer takes.
        if cached is None or self._clock() >= cached.until:
            cached = self._begin(name, key, address)
        try:
            answer = await asyncio.shield(cached.answer)
        except (DependencyUnavailable, TooManyRequests):
            self._cache.pop(name, None)
            raise
        return answer.principal()

    def _begin(self, name: bytes, key: str, address: str) -> _CachedAnswer:
        answer = asyncio.create_task(self._ask(key, address))
        # Also when everybody who waited has gone.
        answer.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._cache[name] = _CachedAnswer(answer, self._clock() + CACHE_SECONDS)
        self._cache.move_to_end(name)
        if len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)
        return self._cache[name]

    async def _ask(self, key: str, address: str) -> Introspection:
        request: JsonValue = {"key": key, "address": address}
        answer = await self._tokens.send(self._http, "auth", SCOPE, "POST", self._url, json=request)
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise TooManyInvalidApiKeys(retry_after=float(answer.headers.get("Retry-After", 60)))
        if answer.status != HTTPStatus.OK:
            raise DependencyUnavailable
        return Introspection.model_validate_json(answer.body)

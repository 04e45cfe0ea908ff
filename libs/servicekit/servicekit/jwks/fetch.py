"""Fetches a JSON Web Key Set (RFC 7517) over HTTP, within limits, and selects the usable keys."""

import asyncio
import logging
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import JsonValue

from servicekit.auth import jose
from servicekit.auth.tokens import ALGORITHM, VerificationKey

logger = logging.getLogger(__name__)

PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_SECONDS = re.compile(r"[0-9]{1,9}")


class KeySetError(Exception):
    """The source returned no usable key set; `kind` is a label for the metrics."""

    def __init__(self, kind: str, retry_after: float = 0) -> None:
        super().__init__(kind)
        self.kind = kind
        self.retry_after = retry_after


@dataclass(frozen=True)
class FetchLimits:
    """Limits on a fetch: seconds, bytes, keys."""

    connect_timeout: float = 1
    read_timeout: float = 2
    total_timeout: float = 3
    max_body: int = 64 * 1024
    max_keys: int = 32


@dataclass(frozen=True)
class KeySet:
    """A key set from a source: the usable keys by id, and how to cache it.

    `max_age` is how long the answer holds, in seconds: 0 if not at all, None if the source does not say.
    """

    keys: Mapping[str, VerificationKey]
    etag: str | None = None
    max_age: float | None = None


async def fetch(url: str, cached: KeySet, limits: FetchLimits) -> KeySet:
    """Fetch the key set, or return the cached one if the source answers 304; raises KeySetError."""
    try:
        async with asyncio.timeout(limits.total_timeout):
            return await _fetch(url, cached, limits)
    except (TimeoutError, httpx.TimeoutException):
        raise KeySetError("error_timeout") from None
    except (httpx.HTTPError, OSError, ValueError) as error:
        raise KeySetError("error_network") from error


async def _fetch(url: str, cached: KeySet, limits: FetchLimits) -> KeySet:
    # Identity, so that the limit on the body counts what is really sent.
    headers = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}
    if cached.etag:
        headers["If-None-Match"] = cached.etag
    # A client a fetch: no cookies, no loop that it belongs to, and one every few minutes costs nothing.
    timeout = httpx.Timeout(limits.read_timeout, connect=limits.connect_timeout)
    async with (
        httpx.AsyncClient(timeout=timeout, trust_env=False, follow_redirects=False, verify=_tls()) as client,
        client.stream("GET", url, headers=headers) as response,
    ):
        max_age = _max_age(response.headers)
        if response.status_code == httpx.codes.NOT_MODIFIED and cached.etag:
            return replace(cached, max_age=max_age)
        if response.status_code != httpx.codes.OK:
            raise _refusal(response)
        body = await _read(response, limits.max_body)
    return KeySet(parse(body, limits.max_keys), response.headers.get("ETag"), max_age)


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


async def _read(response: httpx.Response, most: int) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > most:
            raise KeySetError("error_oversize")
    return bytes(body)


def _refusal(response: httpx.Response) -> KeySetError:
    if response.has_redirect_location:
        return KeySetError("error_redirect")
    return KeySetError("error_status", _retry_after(response.headers))


def _retry_after(headers: httpx.Headers) -> float:
    value = headers.get("Retry-After", "")
    if _SECONDS.fullmatch(value):
        return float(value)
    until, now = _date(value), _date(headers.get("Date", ""))
    # Both from the source, so that no clock of ours comes into it.
    return max(0.0, (until - now).total_seconds()) if until and now else 0.0


def _date(value: str) -> datetime | None:
    try:
        return parsedate_to_datetime(value) if value.endswith(" GMT") else None
    except ValueError:
        return None


def _max_age(headers: httpx.Headers) -> float | None:
    """Read RFC 9111; must-revalidate is left unheard, because we rather use an old key than none."""
    words = [word.strip().lower() for word in headers.get("Cache-Control", "").split(",")]
    if "no-store" in words or "no-cache" in words:
        return 0.0
    ages = [word.removeprefix("max-age=").strip('"') for word in words if word.startswith("max-age=")]
    if not ages or not _SECONDS.fullmatch(ages[0]):
        return None
    age = headers.get("Age", "0").strip()
    return max(0.0, float(ages[0]) - (float(age) if _SECONDS.fullmatch(age) else 0.0))


def parse(body: bytes, max_keys: int) -> dict[str, VerificationKey]:
    """Sift a key set; raises KeySetError when it is malformed or holds no key that we may use.

    An empty set is an error too: a source that is being deployed must not make us forget the keys we have.
    """
    try:
        entries = jose.parse_object(body).get("keys")
    except ValueError:
        raise KeySetError("error_malformed") from None
    if not isinstance(entries, list) or len(entries) > max_keys:
        raise KeySetError("error_malformed")
    if not (keys := _sift(entries)):
        raise KeySetError("error_no_keys")
    return keys


def _sift(entries: list[JsonValue]) -> dict[str, VerificationKey]:
    keys: dict[str, VerificationKey] = {}
    contested: set[str] = set()
    for entry in entries:
        if isinstance(entry, dict) and PRIVATE_MEMBERS & entry.keys():
            logger.error("private key in a key set: it is burnt", extra={"kid": _loggable(entry.get("kid"))})
        elif (key := _key(entry)) and keys.setdefault(key.kid, key) != key:
            logger.error("two keys with one id in a key set", extra={"kid": key.kid})
            contested.add(key.kid)
    return {kid: key for kid, key in keys.items() if kid not in contested}


def _loggable(kid: JsonValue) -> str | None:
    return kid if jose.is_kid(kid) else None


def _key(entry: JsonValue) -> VerificationKey | None:
    """Return the key of an entry; None if its type or use is not supported (RFC 7517 section 5)."""
    if not isinstance(entry, dict) or (entry.get("kty"), entry.get("crv")) != ("OKP", "Ed25519"):
        return None
    kid, point = entry.get("kid"), entry.get("x")
    if not jose.is_kid(kid) or not isinstance(point, str) or not _is_for_verifying(entry):
        return None
    try:
        return VerificationKey(kid, Ed25519PublicKey.from_public_bytes(jose.decode(point)))
    except ValueError:
        return None


def _is_for_verifying(entry: dict[str, JsonValue]) -> bool:
    operations = entry.get("key_ops", ["verify"])
    is_ours = entry.get("use", "sig") == "sig" and entry.get("alg", ALGORITHM) == ALGORITHM
    return is_ours and isinstance(operations, list) and "verify" in operations

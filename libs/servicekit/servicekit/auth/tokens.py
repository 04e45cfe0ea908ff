"""Verifies access tokens strictly (RFC 9068, RFC 8725).

The order of the checks is part of the contract: nothing inside a token is read before its signature is
verified, except the header, and no key is looked up for a token whose header is not in order.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from urllib.parse import quote
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from prometheus_client import Counter, Histogram
from pydantic import JsonValue, ValidationError

from servicekit.auth import jose
from servicekit.auth.claims import Claims
from servicekit.auth.permissions import Role
from servicekit.errors import Unauthenticated, Unavailable

logger = logging.getLogger(__name__)

# The one name, everywhere; RFC 9864 prefers `Ed25519`, which Envoy refuses (docs/security.md).
ALGORITHM = "EdDSA"
TYPE = "at+jwt"
MAX_TOKEN_BYTES = 8 * 1024
MAX_HEADER_BYTES = 1024
MAX_LEEWAY_SECONDS = 60
MAX_LIFETIME_SECONDS = 900
# What is not percent-encoded in the id of an end user, beside letters, digits and `_.-~`.
SAFE = "@+:|="
# Each of these would have us take a key, or the meaning of the token, from whoever sends it.
FORBIDDEN_HEADERS = frozenset({"crit", "jku", "jwk", "x5u", "x5c", "b64", "zip"})

VERIFIED = Counter("jwt_verify_total", "Access tokens looked at.", ["result", "reason"])
VERIFY_SECONDS = Histogram("jwt_verify_seconds", "Time to verify an access token, waiting for keys included.")


# What to do about a token that is refused for one of these reasons.
REMEDIES = {
    "malformed_api_key": "This is not a whole API key: it is mistyped or cut off. Copy it again.",
    "malformed": "This is neither an access token nor an API key, or it is cut off. Copy it again.",
    "expired": "The access token has expired. Get another.",
    "revoked": "The access token was revoked. Sign in again.",
}


class InvalidToken(Unauthenticated):
    """The access token is invalid; `reason` says why, without quoting the token."""

    default_detail = "The access token is not valid, or no longer."

    def __init__(self, reason: str) -> None:
        headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        super().__init__(REMEDIES.get(reason, ""), headers=headers, reason=reason)
        self.reason = reason


class KeySourceUnavailable(Unavailable):
    """The keys that tokens are verified with are not available."""


@dataclass(frozen=True)
class VerificationKey:
    """A public key, and the id it goes by."""

    kid: str
    public_key: Ed25519PublicKey

    def jwk(self) -> dict[str, str]:
        """Write the key as an entry of a key set (RFC 7517, RFC 8037)."""
        return {**jwk_members(self.public_key), "use": "sig", "kid": self.kid, "alg": ALGORITHM}


def jwk_members(public_key: Ed25519PublicKey) -> dict[str, str]:
    """Return the required members of a JWK, of which its thumbprint is made (RFC 8037, RFC 7638)."""
    return {"crv": "Ed25519", "kty": "OKP", "x": jose.encode(public_key.public_bytes_raw())}


class KeySource(Protocol):
    """Where verification keys come from."""

    async def get(self, kid: str) -> VerificationKey:
        """Return a key; raises InvalidToken("unknown_key"), or KeySourceUnavailable if nobody can tell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """The caller, by a verified token."""

    subject: str
    tenant_id: UUID | None
    role: Role | None
    scopes: frozenset[str]
    client_id: str
    session_id: str | None
    token_id: str
    email_verified: bool
    amr: tuple[str, ...]
    auth_time: int | None
    audience: tuple[str, ...]
    expires_at: int
    issued_at: int = 0
    # For whom an application calls, if it names somebody.
    end_user: str | None = None

    @property
    def user_id(self) -> str:
        """The owner of what the caller stores: the whole subject, so that no machine has the id of a person.

        `user:<uuid>`, `service:<client id>`, or `service:<client id>/<end user>`, percent-encoded.
        """
        return self.subject if self.end_user is None else f"{self.subject}/{quote(self.end_user, SAFE)}"

    @property
    def is_service(self) -> bool:
        """Return whether the caller is a machine."""
        return self.subject.startswith("service:")

    @property
    def is_ours(self) -> bool:
        """Return whether the caller is one of our services, and no machine of a tenant (`sa.…`, `ak.…`)."""
        return self.is_service and "." not in self.client_id

    @property
    def is_application(self) -> bool:
        """Return whether the caller is a tenant's machine, by API key or service account."""
        return self.is_service and not self.is_ours


Revoked = Callable[[Principal], Awaitable[bool]]


class TokenVerifier:
    """Turns a token into a Principal, or refuses it; a fraction of a millisecond of work, done in place."""

    def __init__(  # noqa: PLR0913  # what is trusted, each by its name
        self,
        keys: KeySource,
        *,
        issuer: str,
        audiences: Collection[str],
        leeway: int = 30,
        max_lifetime: int = MAX_LIFETIME_SECONDS,
        clock: Callable[[], float] = time.time,
        revoked: Revoked | None = None,
    ) -> None:
        """Trust one issuer, for tokens meant for one of `audiences`; leeway and lifetime are in seconds."""
        if not 0 <= leeway <= MAX_LEEWAY_SECONDS:
            raise ValueError(f"leeway must be 0 to {MAX_LEEWAY_SECONDS} seconds")
        self._keys = keys
        self._issuer = issuer
        self._audiences = frozenset(audiences)
        self._leeway = leeway
        self._max_lifetime = max_lifetime
        self._clock = clock
        self._revoked = revoked

    async def verify(self, token: str) -> Principal:
        """Verify a token; raises InvalidToken, or KeySourceUnavailable when there are no keys for it."""
        try:
            with VERIFY_SECONDS.time():
                principal = await self._verify(token)
        except InvalidToken as refusal:
            VERIFIED.labels("refused", refusal.reason).inc()
            logger.info("access token refused", extra={"reason": refusal.reason})
            raise
        except KeySourceUnavailable:
            VERIFIED.labels("unavailable", "key_source").inc()
            raise
        VERIFIED.labels("accepted", "").inc()
        return principal

    async def is_still_valid(self, principal: Principal) -> bool:
        """Return whether a token or an API key that was verified before is valid still; for streams."""
        is_over = self._clock() >= principal.expires_at + self._leeway
        return not is_over and not (self._revoked and await self._revoked(principal))

    async def _verify(self, token: str) -> Principal:
        parts = _split(token)
        key = await self._keys.get(_read_header(parts.header))
        _check_signature(parts, key)
        claims = _read_claims(parts.payload)
        self._check(claims)
        principal = _principal(claims)
        if self._revoked and await self._revoked(principal):
            raise InvalidToken("revoked")
        return principal

    def _check(self, claims: Claims) -> None:
        now = self._clock()
        if claims.iss != self._issuer:
            raise InvalidToken("wrong_issuer")
        if self._audiences.isdisjoint(claims.aud):
            raise InvalidToken("wrong_audience")
        if now >= claims.exp + self._leeway:
            raise InvalidToken("expired")
        if max(claims.nbf, claims.iat) > now + self._leeway:
            raise InvalidToken("not_yet_valid")
        if not 0 < claims.exp - claims.iat <= self._max_lifetime:
            raise InvalidToken("wrong_lifetime")


class _JwsParts(NamedTuple):
    header: bytes
    payload: bytes
    signature: bytes
    signed: bytes


def _split(token: str) -> _JwsParts:
    if len(token) > MAX_TOKEN_BYTES or token.count(".") != 2:
        raise InvalidToken("malformed")
    try:
        header, payload, signature = (jose.decode(segment) for segment in token.split("."))
    except ValueError:
        raise InvalidToken("malformed") from None
    if len(header) > MAX_HEADER_BYTES:
        raise InvalidToken("malformed")
    return _JwsParts(header, payload, signature, token.rpartition(".")[0].encode())


def _read_header(text: bytes) -> str:
    try:
        header = jose.parse_object(text)
    except ValueError:
        raise InvalidToken("malformed") from None
    if str(header.get("typ")).lower().removeprefix("application/") != TYPE:
        raise InvalidToken("wrong_type")
    if header.get("alg") != ALGORITHM:
        raise InvalidToken("wrong_algorithm")
    if FORBIDDEN_HEADERS & header.keys():
        raise InvalidToken("forbidden_header")
    return _kid(header.get("kid"))


def _kid(value: JsonValue) -> str:
    if not jose.is_kid(value):
        raise InvalidToken("malformed_kid")
    return value


def _check_signature(parts: _JwsParts, key: VerificationKey) -> None:
    try:
        key.public_key.verify(parts.signature, parts.signed)
    except InvalidSignature:
        raise InvalidToken("wrong_signature") from None


def _read_claims(text: bytes) -> Claims:
    try:
        return Claims.model_validate(jose.parse_object(text))
    except ValidationError:
        raise InvalidToken("malformed_claims") from None
    except ValueError:
        raise InvalidToken("malformed") from None


def _principal(claims: Claims) -> Principal:
    return Principal(
        subject=claims.sub,
        tenant_id=UUID(claims.tenant_id) if claims.tenant_id else None,
        role=claims.role,
        scopes=frozenset(claims.scope.split(" ")) if claims.scope else frozenset(),
        client_id=claims.client_id,
        session_id=claims.sid,
        token_id=claims.jti,
        email_verified=claims.email_verified,
        amr=claims.amr,
        auth_time=claims.auth_time,
        audience=claims.aud,
        expires_at=claims.exp,
        issued_at=claims.iat,
    )

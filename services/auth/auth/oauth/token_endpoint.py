"""Issue access tokens for service credentials (RFC 6749 section 4.4), by secret or assertion."""

import base64
import hmac
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt.algorithms import OKPAlgorithm
from jwt.types import Options
from servicekit.app import Resources
from servicekit.auth import jose
from servicekit.auth.tokens import ALGORITHM, TYPE
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth.access.roles import lock_if_active
from auth.errors import InvalidClient, InvalidRequest, InvalidScope, InvalidTarget, UnsupportedGrantType
from auth.models import ServiceCredential
from auth.security.service_account_catalogue import Account
from auth.service_accounts.credentials import WORKING
from auth.service_accounts.issuance import (
    LEEWAY_SECONDS,
    MAX_SECONDS,
    consume_nonce,
    digests_of,
    token_endpoint_url,
)
from auth.service_accounts.schemas import TokenRequest
from auth.services import AuthServices
from auth.settings import Settings
from auth.signing.access_tokens import IssuedAccessToken, MachineClient

GRANT_TYPE = "client_credentials"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
BASIC_CHALLENGE = 'Basic realm="acme", error="invalid_client"'
# RFC 9864 gave `EdDSA` with Ed25519 a name of its own, and libraries sign with either.
ASSERTION_ALGORITHMS = [ALGORITHM, "Ed25519"]
SIGNATURES = jwt.PyJWS()
SIGNATURES.register_algorithm("Ed25519", OKPAlgorithm())
# The signature is verified before: this library does not know the second name.
CLAIMS: Options = {
    "require": ["iss", "sub", "aud", "exp", "iat", "jti"],
    "verify_signature": False,
    "verify_aud": False,
    "verify_iss": True,
    "verify_sub": True,
    "verify_exp": True,
    "verify_nbf": True,
    "verify_iat": True,
}


@dataclass(frozen=True)
class ClientAuth:
    """The client id of a request, with the secret or the assertion that authenticates it."""

    client_id: str
    secret: str | None = None
    assertion: str | None = None


async def exchange(
    services: AuthServices, resources: Resources, request: TokenRequest, authorization: str | None
) -> IssuedAccessToken:
    """Issue an access token; raises what RFC 6749 section 5.2 names, or RateLimited.

    Only a client that tried the Authorization header gets a challenge: HTTP has no scheme for the others.
    """
    try:
        return await issue(services, resources, request, authorization)
    except InvalidClient as error:
        if authorization is not None:
            error.headers["WWW-Authenticate"] = BASIC_CHALLENGE
        raise


async def issue(
    services: AuthServices, resources: Resources, request: TokenRequest, authorization: str | None
) -> IssuedAccessToken:
    """Issue an access token; raises as `exchange` does.

    Credentials of a tenant that is not active are rejected, and so is a `tenant_id` of such a tenant.
    """
    if request.grant_type != GRANT_TYPE:
        raise UnsupportedGrantType
    presented = parse_client_auth(request, authorization)
    await services.rates.check_subject("oauth/token", presented.client_id)
    row = await find_credential(services, presented.client_id)
    await authenticate_client(services, resources, presented, row)
    account = services.catalogue.accounts.get(row.account) if row else None
    # The catalogue as it is now: what it no longer gives, nobody has.
    if row is None or account is None or not account.is_for(row.tenant_id):
        raise InvalidClient
    machine = resolve_grant(request, row, account)
    issued = await services.access_tokens.for_machine(machine)
    async with services.database.begin() as db:
        # After the token is made: a suspension that comes later revokes it.
        await record_use(db, row, machine)
    return issued


async def record_use(db: AsyncSession, row: ServiceCredential, machine: MachineClient) -> None:
    """Store when a credential was used; raises InvalidClient or InvalidRequest without an active tenant."""
    if machine.tenant_id and not await lock_if_active(db, machine.tenant_id):
        raise InvalidClient if row.tenant_id else InvalidRequest
    used = update(ServiceCredential).where(ServiceCredential.id == row.id)
    await db.execute(used.values(last_used_at=datetime.now(UTC), digest=row.digest))


def parse_client_auth(request: TokenRequest, authorization: str | None) -> ClientAuth:
    """Return the client's one authentication method (RFC 6749 2.3); raises InvalidRequest for several."""
    basic = parse_basic(authorization) if authorization else None
    secret = request.client_secret.get_secret_value() if request.client_secret else None
    if sum(one is not None for one in (basic, secret, request.client_assertion)) != 1:
        raise InvalidRequest
    if request.client_assertion is not None:
        if request.client_assertion_type != ASSERTION_TYPE:
            raise InvalidRequest
        named = request.client_id or unverified_subject(request.client_assertion)
        return ClientAuth(named, assertion=request.client_assertion)
    client_auth = basic or ClientAuth(request.client_id or "", secret)
    if not client_auth.client_id or (request.client_id and request.client_id != client_auth.client_id):
        raise InvalidRequest
    return client_auth


def parse_basic(authorization: str) -> ClientAuth:
    """Read `Authorization: Basic` (RFC 6749 2.3.1: both parts are form-encoded); raises InvalidClient."""
    scheme, _, text = authorization.partition(" ")
    try:
        client_id, separator, secret = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except ValueError:
        raise InvalidClient from None
    if scheme.lower() != "basic" or not separator:
        raise InvalidClient
    return ClientAuth(unquote_plus(client_id), unquote_plus(secret))


def unverified_subject(assertion: str) -> str:
    """Return the subject of an assertion, unverified; raises InvalidClient."""
    try:
        subject = jose.parse_object(jose.decode(assertion.split(".")[1])).get("sub")
    except (ValueError, IndexError):
        raise InvalidClient from None
    if not isinstance(subject, str) or not subject:
        raise InvalidClient
    return subject


async def find_credential(services: AuthServices, client_id: str) -> ServiceCredential | None:
    """Return the working credential that a client names."""
    try:
        credential_id = UUID(hex=client_id.rpartition(".")[2])
    except ValueError:
        return None
    async with services.database.begin() as db:
        row: ServiceCredential | None = await db.scalar(
            select(ServiceCredential).where(ServiceCredential.id == credential_id, *WORKING)
        )
    return row if row and row.client_id == client_id else None


async def authenticate_client(
    services: AuthServices, resources: Resources, presented: ClientAuth, row: ServiceCredential | None
) -> None:
    """Authenticate a client; raise InvalidClient for any failure."""
    if presented.assertion is not None:
        await verify_assertion(services, resources, presented.assertion, row)
        return
    digests = digests_of(services.settings, presented.client_id, presented.secret or "")
    stored_digest = (row.digest if row else None) or b"\0" * len(digests[0])
    same = [hmac.compare_digest(stored_digest, one) for one in digests]
    if not any(same) or row is None:
        raise InvalidClient
    row.digest = digests[0]


async def verify_assertion(
    services: AuthServices, resources: Resources, assertion: str, row: ServiceCredential | None
) -> None:
    """Verify an assertion that the client's own key signed, once (RFC 7523 section 3)."""
    if row is None or row.public_jwk is None:
        raise InvalidClient
    key = Ed25519PublicKey.from_public_bytes(jose.decode(row.public_jwk["x"]))
    try:
        claims = decode_assertion(assertion, key, row.client_id)
    except (jwt.PyJWTError, AttributeError):
        raise InvalidClient from None
    if not is_audience(services.settings, claims["aud"]):
        raise InvalidClient
    if claims["exp"] > time.time() + MAX_SECONDS or not isinstance(claims["jti"], str):
        raise InvalidClient
    if not await consume_nonce(resources, "assertion", f"{row.client_id} {claims['jti']}"):
        raise InvalidClient


def is_audience(settings: Settings, audience: object) -> bool:
    """Return whether an assertion is for us alone: the issuer or the token endpoint, or a list of them."""
    ours = {settings.auth_issuer, token_endpoint_url(settings)}
    values = audience if isinstance(audience, list) else [audience]
    return bool(values) and all(isinstance(value, str) and value in ours for value in values)


def decode_assertion(assertion: str, key: Ed25519PublicKey, client_id: str) -> dict[str, Any]:
    """Return the claims of an assertion; raises InvalidClient for an access token, and PyJWT's errors."""
    if jwt.get_unverified_header(assertion).get("typ", "JWT").lower() == TYPE:
        raise InvalidClient
    SIGNATURES.decode(assertion, key, algorithms=ASSERTION_ALGORITHMS)
    claims: dict[str, Any] = jwt.decode(
        assertion,
        issuer=client_id,
        subject=client_id,
        leeway=LEEWAY_SECONDS,
        options=CLAIMS,
    )
    return claims


def resolve_grant(request: TokenRequest, row: ServiceCredential, account: Account) -> MachineClient:
    """Return the claims of the token; raises InvalidTarget, InvalidScope or InvalidRequest."""
    audience = request.audience or account.audiences[0]
    if audience not in account.audiences:
        raise InvalidTarget
    granted = account.scopes & set(row.scopes)
    scopes = frozenset(request.scope.split()) or granted
    if not scopes or not scopes <= granted:
        raise InvalidScope
    return MachineClient(
        client_id=row.client_id,
        audience=audience,
        scopes=scopes,
        tenant_id=resolve_tenant(request, row),
        role=account.role,
        until=int(row.expires_at.timestamp()),
    )


def resolve_tenant(request: TokenRequest, row: ServiceCredential) -> UUID | None:
    """Return the tenant of the token; accounts of all tenants must name one. Raises InvalidRequest."""
    if row.tenant_id is not None and request.tenant_id not in {None, row.tenant_id}:
        raise InvalidRequest
    return row.tenant_id or request.tenant_id

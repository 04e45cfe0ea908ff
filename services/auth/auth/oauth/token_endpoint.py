"""A machine's credential for an access token (RFC 6749 section 4.4), proved by secret or by assertion."""

import base64
import hmac
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote_plus
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from servicekit.app import Resources
from servicekit.auth import jose
from servicekit.auth.tokens import ALGORITHM, TYPE
from sqlalchemy import select, update

from auth.access.roles import keep_active
from auth.errors import InvalidClient, InvalidRequest, InvalidScope, InvalidTarget, UnsupportedGrantType
from auth.models import ServiceCredential
from auth.security.service_account_catalogue import Account
from auth.service_accounts.credentials import WORKING
from auth.service_accounts.issuance import LEEWAY_SECONDS, MAX_SECONDS, digests_of, is_first, token_endpoint
from auth.service_accounts.schemas import TokenRequest
from auth.services import Parts
from auth.signing.access_tokens import Issued, Machine

GRANT_TYPE = "client_credentials"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
REQUIRED = ["iss", "sub", "aud", "exp", "iat", "jti"]


@dataclass(frozen=True)
class Presented:
    """Who a client says it is, and the one thing by which it means to prove it."""

    client_id: str
    secret: str | None = None
    assertion: str | None = None


async def exchange(
    parts: Parts, resources: Resources, asked: TokenRequest, authorization: str | None
) -> Issued:
    """Issue an access token; raises what RFC 6749 section 5.2 names, or RateLimited.

    A credential of a tenant that is not active is no client's, and such a tenant is none that may be named.
    """
    if asked.grant_type != GRANT_TYPE:
        raise UnsupportedGrantType
    presented = what_is_presented(asked, authorization)
    await parts.rates.of_subject("oauth/token", presented.client_id)
    row = await find(parts, presented.client_id)
    await prove(parts, resources, presented, row)
    account = parts.catalogue.accounts.get(row.account) if row else None
    # The catalogue as it is now: what it no longer gives, nobody has.
    if row is None or account is None or not account.is_for(row.tenant_id):
        raise InvalidClient
    machine = wanted(asked, row, account)
    issued = await parts.access_tokens.for_machine(machine)
    async with parts.database.begin() as db:
        # After the token is made: a suspension that comes later revokes it.
        if machine.tenant_id and not await keep_active(db, machine.tenant_id):
            raise InvalidClient if row.tenant_id else InvalidRequest
        used = update(ServiceCredential).where(ServiceCredential.id == row.id)
        await db.execute(used.values(last_used_at=datetime.now(UTC), digest=row.digest))
    return issued


def what_is_presented(asked: TokenRequest, authorization: str | None) -> Presented:
    """Find the one way in which a client proves itself (RFC 6749 2.3: never two); raises InvalidRequest."""
    basic = from_basic(authorization) if authorization else None
    secret = asked.client_secret.get_secret_value() if asked.client_secret else None
    if sum(one is not None for one in (basic, secret, asked.client_assertion)) != 1:
        raise InvalidRequest
    if asked.client_assertion is not None:
        if asked.client_assertion_type != ASSERTION_TYPE:
            raise InvalidRequest
        named = asked.client_id or subject_of(asked.client_assertion)
        return Presented(named, assertion=asked.client_assertion)
    found = basic or Presented(asked.client_id or "", secret)
    if not found.client_id or (asked.client_id and asked.client_id != found.client_id):
        raise InvalidRequest
    return found


def from_basic(authorization: str) -> Presented:
    """Read `Authorization: Basic` (RFC 6749 2.3.1: both parts are form-encoded); raises InvalidClient."""
    scheme, _, text = authorization.partition(" ")
    try:
        client_id, found, secret = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except ValueError:
        raise InvalidClient from None
    if scheme.lower() != "basic" or not found:
        raise InvalidClient
    return Presented(unquote_plus(client_id), unquote_plus(secret))


def subject_of(assertion: str) -> str:
    """Tell who an assertion says it is from, unverified; raises InvalidClient."""
    try:
        said = jose.parse_object(jose.decode(assertion.split(".")[1])).get("sub")
    except (ValueError, IndexError):
        raise InvalidClient from None
    if not isinstance(said, str) or not said:
        raise InvalidClient
    return said


async def find(parts: Parts, client_id: str) -> ServiceCredential | None:
    """Give the working credential that a client names."""
    try:
        credential_id = UUID(hex=client_id.rpartition(".")[2])
    except ValueError:
        return None
    async with parts.database.begin() as db:
        row: ServiceCredential | None = await db.scalar(
            select(ServiceCredential).where(ServiceCredential.id == credential_id, *WORKING)
        )
    return row if row and row.client_id == client_id else None


async def prove(
    parts: Parts, resources: Resources, presented: Presented, row: ServiceCredential | None
) -> None:
    """Believe a client, or raise InvalidClient: one answer for all that may be wrong."""
    if presented.assertion is not None:
        await prove_by_assertion(parts, resources, presented.assertion, row)
        return
    given = digests_of(parts.settings, presented.client_id, presented.secret or "")
    held = (row.digest if row else None) or b"\0" * len(given[0])
    same = [hmac.compare_digest(held, one) for one in given]
    if not any(same) or row is None:
        raise InvalidClient
    row.digest = given[0]


async def prove_by_assertion(
    parts: Parts, resources: Resources, assertion: str, row: ServiceCredential | None
) -> None:
    """Believe an assertion by the client's own key: for this endpoint, now, and once (RFC 7523 section 3)."""
    if row is None or row.public_jwk is None:
        raise InvalidClient
    key = Ed25519PublicKey.from_public_bytes(jose.decode(row.public_jwk["x"]))
    try:
        if jwt.get_unverified_header(assertion).get("typ", "JWT").lower() == TYPE:
            raise InvalidClient
        claims = jwt.decode(
            assertion,
            key,
            algorithms=[ALGORITHM],
            audience=token_endpoint(parts.settings),
            issuer=row.client_id,
            subject=row.client_id,
            leeway=LEEWAY_SECONDS,
            options={"require": REQUIRED, "strict_aud": True},
        )
    except (jwt.PyJWTError, AttributeError):
        raise InvalidClient from None
    if claims["exp"] > time.time() + MAX_SECONDS or not isinstance(claims["jti"], str):
        raise InvalidClient
    if not await is_first(resources, "assertion", f"{row.client_id} {claims['jti']}"):
        raise InvalidClient


def wanted(asked: TokenRequest, row: ServiceCredential, account: Account) -> Machine:
    """Tell what the token is to say; raises InvalidTarget, InvalidScope or InvalidRequest."""
    audience = asked.audience or account.audiences[0]
    if audience not in account.audiences:
        raise InvalidTarget
    granted = account.scopes & set(row.scopes)
    scopes = frozenset(asked.scope.split()) or granted
    if not scopes or not scopes <= granted:
        raise InvalidScope
    return Machine(
        client_id=row.client_id,
        audience=audience,
        scopes=scopes,
        tenant_id=tenant_of(asked, row),
        role=account.role,
        until=int(row.expires_at.timestamp()),
    )


def tenant_of(asked: TokenRequest, row: ServiceCredential) -> UUID | None:
    """Tell which tenant the token is for; an account of all tenants says which. Raises InvalidRequest."""
    if row.tenant_id is not None and asked.tenant_id not in {None, row.tenant_id}:
        raise InvalidRequest
    return row.tenant_id or asked.tenant_id

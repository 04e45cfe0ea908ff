"""Issues a credential for a payload that Vault's key has signed, once, and with exactly the signed rights."""

import base64
import hashlib
import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from pydantic import ValidationError
from servicekit.app import Resources
from servicekit.auth import jose
from servicekit.errors import ServiceError

from auth import audit
from auth.access.roles import lock_if_active
from auth.audit import Action
from auth.models import ServiceCredential
from auth.security.keyed_hash import keyed_hash
from auth.service_accounts import errors, schemas
from auth.services import AuthServices
from auth.settings import Settings
from auth.signing.vault import VaultUnavailable

AUDIENCE = "auth-service"
KIND = "service_account"
# Lets scanners of repositories and logs recognise a leaked one.
PREFIX = "acme_sa_"
SECRET_BYTES = 32
MAX_SECONDS = 300
LEEWAY_SECONDS = 30
TOKEN_PATH = "/api/v1/auth/oauth/token"  # noqa: S105  # an address


async def issue(
    services: AuthServices, resources: Resources, request: schemas.Issuance
) -> schemas.IssuedCredential:
    """Issue what a signed payload asks for; raises the errors of service accounts, or VaultUnavailable."""
    try:
        payload = await verify_payload(services, resources, request)
        require_allowed(services, payload)
        return await store_credential(services, request, payload)
    except ServiceError as refusal:
        if refusal.status < 500:
            what: dict[str, Any] = {"kind": KIND, "reason": refusal.code()}
            await audit.record_alone(services.database, Action.AUTHZ_FAIL, **what)
        raise


async def verify_payload(
    services: AuthServices, resources: Resources, request: schemas.Issuance
) -> schemas.Payload:
    """Read a payload that Vault's key has signed, for us, now, and for the first time."""
    data = decode_payload(request.payload_b64)
    if not services.settings.vault_verify_enabled:
        raise VaultUnavailable("Service accounts are not issued here: VAULT_VERIFY_ENABLED is off.")
    if not await services.vault.verify(data, request.signature):
        raise errors.InvalidIssuanceSignature
    # Not before: what nobody has vouched for is not worth reading.
    payload = parse_payload(data)
    if (payload.iss, payload.aud) != (services.settings.auth_service_account_issuer, AUDIENCE):
        raise errors.InvalidIssuanceAudience
    now = time.time()
    if not (payload.iat <= now + LEEWAY_SECONDS and now < payload.exp <= payload.iat + MAX_SECONDS):
        raise errors.IssuanceExpired
    if not await consume_nonce(resources, "issuance", payload.nonce):
        raise errors.IssuanceReplayed
    return payload


def decode_payload(payload_b64: str) -> bytes:
    """Read base64; raises InvalidIssuanceSignature."""
    try:
        return base64.b64decode(payload_b64, validate=True)
    except ValueError:
        raise errors.InvalidIssuanceSignature from None


def parse_payload(data: bytes) -> schemas.Payload:
    """Read a payload; raises InvalidIssuance."""
    try:
        return schemas.Payload.model_validate(jose.parse_object(data))
    except (ValueError, ValidationError):
        raise errors.InvalidIssuance from None


async def consume_nonce(resources: Resources, kind: str, once: str) -> bool:
    """Consume a nonce; return whether it is new. Raises LimitsUnavailable without Redis."""
    name = f"auth:once:{kind}:{hashlib.sha256(once.encode()).hexdigest()}"
    lasting = MAX_SECONDS + 2 * LEEWAY_SECONDS
    return bool(await resources.limits.call(resources.redis.set(name, b"1", nx=True, ex=lasting)))


def require_allowed(services: AuthServices, payload: schemas.Payload) -> None:
    """Reject what the catalogue does not allow the account."""
    account = services.catalogue.accounts.get(payload.account)
    if account is None or not account.is_for(payload.tenant_id):
        raise errors.ServiceAccountNotAllowed
    if not set(payload.scopes) <= account.scopes:
        raise errors.ScopeNotAllowed
    if payload.lifetime_s > account.max_lifetime_minutes * 60:
        raise errors.LifetimeNotAllowed


async def store_credential(
    services: AuthServices, request: schemas.Issuance, payload: schemas.Payload
) -> schemas.IssuedCredential:
    """Store the credential and return it with its secret; raises ServiceAccountNotAllowed."""
    row = new_credential(payload, key_version=int(request.signature.split(":")[1].removeprefix("v")))
    secret = None if payload.jwk else PREFIX + secrets.token_hex(SECRET_BYTES)
    row.digest = digests_of(services.settings, row.client_id, secret)[0] if secret else None
    async with services.database.begin() as db:
        if payload.tenant_id and not await lock_if_active(db, payload.tenant_id):
            raise errors.ServiceAccountNotAllowed
        db.add(row)
        subject = f"service:{row.client_id}"
        what: dict[str, Any] = {"account": row.account, "scopes": row.scopes, "key_version": row.key_version}
        audit.record(db, Action.TOKEN_CREATED, tenant_id=row.tenant_id, actor=subject, kind=KIND, **what)
    endpoint = token_endpoint_url(services.settings)
    return schemas.IssuedCredential(
        **to_schema(row).model_dump(), client_secret=secret, token_endpoint=endpoint
    )


def new_credential(payload: schemas.Payload, *, key_version: int) -> ServiceCredential:
    """Return the credential that a payload asks for, without its secret."""
    now = datetime.now(UTC)
    return ServiceCredential(
        id=uuid4(),
        account=payload.account,
        tenant_id=payload.tenant_id,
        scopes=sorted(set(payload.scopes)),
        public_jwk=payload.jwk.model_dump() if payload.jwk else None,
        key_version=key_version,
        created_at=now,
        expires_at=now + timedelta(seconds=payload.lifetime_s),
    )


def digests_of(settings: Settings, client_id: str, secret: str) -> list[bytes]:
    """Return what a secret is recognised by: the first under the pepper of today."""
    return [keyed_hash(pepper, "service account", client_id, secret) for pepper in settings.refresh_peppers]


def token_endpoint_url(settings: Settings) -> str:
    """Return the address at which machines get tokens, as they and their assertions name it."""
    return f"{settings.auth_issuer.rstrip('/')}{TOKEN_PATH}"


def to_schema(row: ServiceCredential) -> schemas.ServiceCredential:
    """Describe a credential without its secret."""
    return schemas.ServiceCredential(
        id=row.id,
        client_id=row.client_id,
        account=row.account,
        tenant_id=row.tenant_id,
        scopes=row.scopes,
        method="private_key_jwt" if row.public_jwk else "client_secret",
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )

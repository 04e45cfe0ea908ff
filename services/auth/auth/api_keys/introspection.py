"""Introspection of API keys: the rights of a key, limited to the current rights of its holder."""

import hmac
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

from servicekit.auth import api_keys
from servicekit.auth.api_keys import Introspection
from servicekit.auth.tokens import InvalidToken, Principal
from servicekit.client_ip import client_ip, network_of
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from auth.api_keys import entitlement
from auth.api_keys.entitlement import Entitlement
from auth.api_keys.keys import client_id, digests_of
from auth.models import ApiKey
from auth.services import AuthServices

# `last_used_at` is a hint for people; it is not worth a write for each request.
LAST_USED_RESOLUTION = timedelta(minutes=1)
# How long a stream that was opened with a key may go on; a token would have to be renewed then, too.
MAX_STREAM_SECONDS = 900
# A revocation bears the time before it is committed: what was asked in between must be covered by it.
BACKDATED_SECONDS = 2


async def verify_locally(connection: HTTPConnection, key: str) -> Principal:
    """Verify an API key that a request to auth carries; raises InvalidToken or RateLimited."""
    api_keys.parse_key_id(key)
    services: AuthServices = connection.app.state.services
    return (await introspect(services, key, client_ip(connection))).principal()


async def introspect(services: AuthServices, key: str, address: str) -> Introspection:
    """Return what a key may do from an IP address; invalid ones are counted. Raises RateLimited."""
    async with services.database.begin() as db:
        result = await _introspect(db, services, key, address)
    if not result.active:
        await services.rates.check_ip("api-key", network_of(address))
    return result


async def _introspect(db: AsyncSession, services: AuthServices, key: str, address: str) -> Introspection:
    """Find a key and its current rights."""
    try:
        key_id = api_keys.parse_key_id(key)
    except InvalidToken:
        return Introspection()
    started_at = int(time.time())
    query = select(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
    row: ApiKey | None = await db.scalar(query)
    digests = digests_of(services.settings, key)
    if row is None or not is_ip_allowed(row, address):
        return Introspection()
    if row.expires_at is not None and row.expires_at <= datetime.now(UTC):
        return Introspection(expired=is_one_of(row.digest, digests))
    rights = await get_entitlement(db, services, row, digests)
    if rights is None:
        return Introspection()
    await record_use(db, row, digests)
    return to_schema(row, rights, services.settings.auth_audience, started_at)


def to_schema(row: ApiKey, rights: Entitlement, audience: str, started_at: int) -> Introspection:
    """Return the introspection of a valid key."""
    return Introspection(
        active=True,
        subject=f"service:{client_id(row.id)}",
        client_id=client_id(row.id),
        tenant_id=row.tenant_id,
        role=rights.role,
        scopes=rights.scopes,
        email_verified=rights.user.email_verified_at is not None,
        audience=(audience,),
        issued_at=started_at - BACKDATED_SECONDS,
        expires_at=expiry(row),
    )


async def get_entitlement(
    db: AsyncSession, services: AuthServices, row: ApiKey, digests: Sequence[bytes]
) -> Entitlement | None:
    """Return the rights of a secret; None if it is not a valid secret of the key."""
    verified_only = services.settings.require_email_verification
    # Both, so that the time tells nothing.
    is_current, is_previous = is_one_of(row.digest, digests), is_one_of(row.previous_digest or b"", digests)
    if is_current:
        return await entitlement.of_current_secret(db, row, verified_only=verified_only)
    if is_previous and row.previous_expires_at and row.previous_expires_at > datetime.now(UTC):
        return await entitlement.of_previous_secret(db, row, verified_only=verified_only)
    return None


def is_one_of(digest: bytes, digests: Sequence[bytes]) -> bool:
    """Return whether a digest is one of those given, in constant time."""
    matches = [hmac.compare_digest(digest, one) for one in digests]
    return any(matches)


def is_ip_allowed(row: ApiKey, address: str) -> bool:
    """Return whether a key works from an address."""
    if not row.networks:
        return True
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    plain = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(plain in ip_network(network) for network in row.networks)


async def record_use(db: AsyncSession, row: ApiKey, digests: Sequence[bytes]) -> None:
    """Store when a key was last used, to the minute, and its digest under the current pepper."""
    now = datetime.now(UTC)
    if row.last_used_at is None or row.last_used_at < now - LAST_USED_RESOLUTION:
        await db.execute(update(ApiKey).where(ApiKey.id == row.id).values(last_used_at=now))
    if row.digest in digests[1:]:
        # Only if it is still this one: it may be rotated at this moment.
        same = (ApiKey.id == row.id, ApiKey.digest == row.digest)
        await db.execute(update(ApiKey).where(*same).values(digest=digests[0]))


def expiry(row: ApiKey) -> int:
    """Return until when streams that were opened with a key may stay open (epoch seconds)."""
    latest = int(time.time()) + MAX_STREAM_SECONDS
    return min(latest, int(row.expires_at.timestamp())) if row.expires_at else latest

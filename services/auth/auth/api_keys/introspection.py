"""What a key may do now: what was given to it, as far as who was given its secret may do that now."""

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
from auth.api_keys.keys import WORKING, client_id, digests_of
from auth.models import ApiKey
from auth.services import Parts

# `last_used_at` is a hint for people; it is not worth a write for each request.
USE_NOTED = timedelta(minutes=1)
# How long a stream that was opened with a key may go on; a token would have to be renewed then, too.
LIFE_SECONDS = 900
# A revocation bears the time before it is committed: what was asked in between must be covered by it.
BACKDATED_SECONDS = 2


async def own(connection: HTTPConnection, key: str) -> Principal:
    """Say who asks auth itself with a key; raises InvalidToken or RateLimited."""
    api_keys.parse_key_id(key)
    parts: Parts = connection.app.state.parts
    return (await introspect(parts, key, client_ip(connection))).principal()


async def introspect(parts: Parts, key: str, address: str) -> Introspection:
    """Tell what a key may do from an address; counts those that may nothing. Raises RateLimited."""
    async with parts.database.begin() as db:
        found = await look_up(db, parts, key, address)
    if not found.active:
        await parts.rates.of_address("api-key", network_of(address))
    return found


async def look_up(db: AsyncSession, parts: Parts, key: str, address: str) -> Introspection:
    """Find a key, and what is left of its rights."""
    try:
        key_id = api_keys.parse_key_id(key)
    except InvalidToken:
        return Introspection()
    asked_at = int(time.time())
    row: ApiKey | None = await db.scalar(select(ApiKey).where(ApiKey.id == key_id, *WORKING))
    given = digests_of(parts.settings, key)
    if row is None or not is_let_in(row, address):
        return Introspection()
    found = await entitled(db, parts, row, given)
    if found is None:
        return Introspection()
    await note_use(db, row, given)
    return Introspection(
        active=True,
        subject=f"service:{client_id(row.id)}",
        client_id=client_id(row.id),
        tenant_id=row.tenant_id,
        role=found.role,
        scopes=found.scopes,
        email_verified=found.user.email_verified_at is not None,
        audience=(parts.settings.auth_audience,),
        issued_at=asked_at - BACKDATED_SECONDS,
        expires_at=expiry(row),
    )


async def entitled(db: AsyncSession, parts: Parts, row: ApiKey, given: Sequence[bytes]) -> Entitlement | None:
    """Return what a secret gives now; None if it is none of the key's, or not any more."""
    verified_only = parts.settings.require_email_verification
    # Both, so that the time tells nothing.
    is_current, is_previous = is_one_of(row.digest, given), is_one_of(row.previous_digest or b"", given)
    if is_current:
        return await entitlement.of_current_secret(db, row, verified_only=verified_only)
    if is_previous and row.previous_expires_at and row.previous_expires_at > datetime.now(UTC):
        return await entitlement.of_previous_secret(db, row, verified_only=verified_only)
    return None


def is_one_of(digest: bytes, given: Sequence[bytes]) -> bool:
    """Tell whether a digest is one of those given, in constant time."""
    matches = [hmac.compare_digest(digest, one) for one in given]
    return any(matches)


def is_let_in(row: ApiKey, address: str) -> bool:
    """Tell whether a key works from an address."""
    if not row.networks:
        return True
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    plain = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(plain in ip_network(network) for network in row.networks)


async def note_use(db: AsyncSession, row: ApiKey, given: Sequence[bytes]) -> None:
    """Keep roughly when a key was last used, and its digest under the pepper of today."""
    now = datetime.now(UTC)
    if row.last_used_at is None or row.last_used_at < now - USE_NOTED:
        await db.execute(update(ApiKey).where(ApiKey.id == row.id).values(last_used_at=now))
    if row.digest in given[1:]:
        # Only if it is still this one: it may be rotated at this moment.
        same = (ApiKey.id == row.id, ApiKey.digest == row.digest)
        await db.execute(update(ApiKey).where(*same).values(digest=given[0]))


def expiry(row: ApiKey) -> int:
    """Tell until when what was opened with a key may stay open (epoch seconds)."""
    latest = int(time.time()) + LIFE_SECONDS
    return min(latest, int(row.expires_at.timestamp())) if row.expires_at else latest

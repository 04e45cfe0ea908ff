"""Devices that a user has signed in from before: known by a token that they store, or by their network.

A device's token opens nothing. It keeps strangers' failures from locking its owner out, and a sign-in without
one from a new place is emailed to the owner.
"""

import hmac
import re
from collections.abc import Sequence
from uuid import UUID

from pydantic import SecretStr
from servicekit.auth import jose
from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import client_info
from auth.audit import Action
from auth.models import AuditEvent, User
from auth.security.keyed_hash import keyed_hash
from auth.services import AuthServices

PREFIX = "acme_dv_"
FORMAT = re.compile(PREFIX + r"([0-9a-f]{32})\.([A-Za-z0-9_-]{43})")
UNKNOWN_SUBJECT = "user:nobody"


def create_token(key: SecretStr, user_id: UUID, device_id: UUID) -> str:
    """Return the token of a user's device; nothing of it is stored."""
    proof = keyed_hash(key, "device", user_id.bytes, device_id.bytes)
    return f"{PREFIX}{device_id.hex}.{jose.encode(proof)}"


def verify_device_token(keys: Sequence[SecretStr], user_id: UUID, token: str | None) -> UUID | None:
    """Return the device that a token is of, whichever key signed it; None for any other token."""
    match = FORMAT.fullmatch(token or "")
    if match is None:
        return None
    device_id = UUID(match[1])
    expected = [create_token(key, user_id, device_id).encode() for key in keys]
    fits = [hmac.compare_digest(one, match[0].encode()) for one in expected]
    return device_id if any(fits) else None


async def known_device_key(
    db: AsyncSession, services: AuthServices, user: User | None, token: str | None
) -> str | None:
    """Return the key of a known device of the account; None for unknown ones."""
    seen = await has_signed_in_from_here(db, user)
    if user and (device_id := verify_device_token(services.settings.refresh_peppers, user.id, token)):
        return f"device {device_id}"
    return (
        f"address {from_where.digest.hex()}"
        if seen and (from_where := client_info.current_client())
        else None
    )


async def has_signed_in_from_here(db: AsyncSession, user: User | None) -> bool:
    """Return whether a user has signed in from this IP before; takes the same time without a user."""
    if (from_where := client_info.current_client()) is None:
        return False
    return await has_signed_in(db, user, AuditEvent.address_digest.in_(from_where.digests))


async def has_signed_in(db: AsyncSession, user: User | None, *how: ColumnElement[bool]) -> bool:
    """Return whether a user has ever signed in, as far as the audit log goes back."""
    entered = select(AuditEvent.id).where(
        AuditEvent.subject == (user.subject if user else UNKNOWN_SUBJECT),
        AuditEvent.action == Action.LOGIN_SUCCESS.value,
        *how,
    )
    return await db.scalar(entered.limit(1)) is not None

"""Verify a second factor, and list a user's factors."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth.factors import challenges, passkeys, recovery_codes, totp
from auth.factors.errors import (
    InvalidFactor,
)
from auth.factors.schemas import Proof
from auth.models import Membership, Passkey, RecoveryCode, Tenant, TenantStatus, Totp, User
from auth.services import AuthServices


async def verify_factor(  # noqa: PLR0913  # what is shown, and what it has to fit
    db: AsyncSession,
    services: AuthServices,
    user: User,
    proof: Proof,
    *,
    challenge: str,
    code: RecoveryCode | None,
) -> list[str]:
    """Verify and consume a second factor; return its method (RFC 8176). Raises InvalidFactor.

    `code` is the recovery code that has matched.
    """
    if proof.code:
        await totp.consume_code(db, services, user.id, proof.code.get_secret_value())
        return ["otp"]
    if code:
        await recovery_codes.consume(db, services, user, code)
        return ["otp"]
    if proof.passkey:
        _, amr = await passkeys.authenticate(
            db, services, proof.passkey, challenges.webauthn_challenge_of(challenge), user.id
        )
        return amr
    raise InvalidFactor


def merge_amr(before: Sequence[str], added: Sequence[str]) -> list[str]:
    """Return both lists of methods merged, with `mfa` (RFC 8176)."""
    ways = [way for way in dict.fromkeys([*before, *added]) if way != "mfa"]
    return [*ways, "mfa"]


async def has_any(db: AsyncSession, user_id: UUID) -> bool:
    """Return whether a user has a second factor; recovery codes do not count as one."""
    app = select(Totp.id).where(Totp.user_id == user_id, Totp.confirmed_at.is_not(None))
    key = select(Passkey.id).where(Passkey.user_id == user_id)
    return bool(await db.scalar(select(app.exists() | key.exists())))


async def is_required_by_tenant(db: AsyncSession, user_id: UUID) -> bool:
    """Return whether one of a user's tenants requires a second factor."""
    strict = (
        select(Tenant.id)
        .join(Membership, Membership.tenant_id == Tenant.id)
        .where(Membership.user_id == user_id, Tenant.mfa_required, Tenant.status != TenantStatus.DELETED)
    )
    return bool(await db.scalar(select(strict.exists())))


async def list_kinds(db: AsyncSession, user_id: UUID) -> list[str]:
    """List the kinds of factors that a user can answer a challenge with."""
    app = await totp.find(db, user_id)
    enrolled = {
        "totp": app is not None and app.confirmed_at is not None,
        "passkey": bool(await passkeys.list_for_user(db, user_id)),
        "recovery_code": await recovery_codes.count_unused(db, user_id) > 0,
    }
    return [kind for kind, is_enrolled in enrolled.items() if is_enrolled]

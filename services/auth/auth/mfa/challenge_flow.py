"""Coming in: with what was shown first where that is all there is, or else when a second factor is shown too.

Whatever comes first (a password, a link of a mail) calls `enter`. A passkey is both factors and does not.
"""

from collections.abc import Sequence
from uuid import UUID

from pydantic import JsonValue
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import users
from auth.factors import attempts, challenges, passkeys, recovery_codes, totp
from auth.factors.errors import (
    ChallengeInvalid,
    FactorRefused,
    SecondFactorEnrolmentRequired,
    SecondFactorRequired,
)
from auth.factors.schemas import Proof, SecondFactor
from auth.models import Aim, Membership, Passkey, RecoveryCode, Tenant, TenantStatus, Totp, User
from auth.schemas import SessionBundle
from auth.services import Parts
from auth.sessions import sessions
from auth.users import Standing

# Given back and not raised: raising would undo the challenge before it is committed.
Unfinished = SecondFactorRequired | SecondFactorEnrolmentRequired


async def enter(
    db: AsyncSession, parts: Parts, standing: Standing, amr: Sequence[str], device: str | None = None
) -> SessionBundle | Unfinished:
    """Begin a session, or ask for the second factor; `amr` is what was shown (RFC 8176).

    Whoever calls raises what is unfinished, when the transaction is over.
    """
    has_factor = await has_any(db, standing.user.id)
    if not has_factor and not standing.tenant.mfa_required:
        return await sessions.begin(db, parts, standing, amr, device=device)
    asked = challenges.ask(
        db,
        parts,
        Aim.SECOND_FACTOR if has_factor else Aim.ENROLMENT,
        user_id=standing.user.id,
        tenant_id=standing.tenant.id,
        amr=amr,
    )
    if not has_factor:
        return SecondFactorEnrolmentRequired(asked.token)
    told: dict[str, JsonValue] = {"challenge": asked.token, "factors": [*await kinds(db, standing.user.id)]}
    known = await passkeys.of(db, standing.user.id)
    if known and parts.settings.rp_id:
        told["passkey"] = passkeys.options_to_sign(parts, asked.to_sign, known)
    return SecondFactorRequired(told)


async def finish(parts: Parts, answer: SecondFactor) -> SessionBundle:
    """Begin the session that a challenge stood before.

    Raises ChallengeInvalid, FactorRefused or FactorsBlocked.
    """
    token = answer.challenge.get_secret_value()
    async with parts.database.begin() as db:
        user_id = await challenges.whose(db, parts, Aim.SECOND_FACTOR, token)
    failures = await attempts.count(parts, user_id)
    try:
        code = await recovery_codes.match(parts, user_id, answer.recovery_code)
        async with parts.database.begin() as db:
            await users.hold_person(db, user_id)
            # A wrong answer undoes this: the challenge may be tried again, as often as is counted.
            challenge = await challenges.take(db, parts, Aim.SECOND_FACTOR, token)
            standing = await sessions.entering(db, parts, user_id, challenge.tenant_id)
            if standing is None:
                raise ChallengeInvalid
            shown = await prove(db, parts, standing.user, answer, challenge=token, code=code)
            await attempts.forget(db, user_id)
            bundle = await sessions.begin(
                db, parts, standing, together(challenge.amr, shown), device=answer.device
            )
    except FactorRefused as refusal:
        raise await attempts.refuse(parts, user_id, failures, refusal) from None
    except attempts.UNSIGNED:
        await attempts.forgive(parts, user_id)
        raise
    return bundle


async def prove(  # noqa: PLR0913  # what is shown, and what it has to fit
    db: AsyncSession,
    parts: Parts,
    user: User,
    proof: Proof,
    *,
    challenge: str,
    code: RecoveryCode | None,
) -> list[str]:
    """Use up the one factor that is shown; gives what it is (RFC 8176), raises FactorRefused.

    `code` is the recovery code that has matched.
    """
    if proof.code:
        await totp.use(db, parts, user.id, proof.code.get_secret_value())
        return ["otp"]
    if code:
        await recovery_codes.use(db, parts, user, code)
        return ["otp"]
    if proof.passkey:
        _, amr = await passkeys.use(db, parts, proof.passkey, challenges.to_sign(challenge), user.id)
        return amr
    raise FactorRefused


def together(before: Sequence[str], shown: Sequence[str]) -> list[str]:
    """Say all that was shown, each once; two kinds of it are multi-factor."""
    ways = [way for way in dict.fromkeys([*before, *shown]) if way != "mfa"]
    return [*ways, "mfa"]


async def has_any(db: AsyncSession, user_id: UUID) -> bool:
    """Tell whether somebody has a second factor; recovery codes only stand in for one."""
    app = select(Totp.id).where(Totp.user_id == user_id, Totp.confirmed_at.is_not(None))
    key = select(Passkey.id).where(Passkey.user_id == user_id)
    return bool(await db.scalar(select(app.exists() | key.exists())))


async def is_required(db: AsyncSession, user_id: UUID) -> bool:
    """Return whether a tenant of a person lets nobody in by one factor alone."""
    strict = (
        select(Tenant.id)
        .join(Membership, Membership.tenant_id == Tenant.id)
        .where(Membership.user_id == user_id, Tenant.mfa_required, Tenant.status != TenantStatus.DELETED)
    )
    return bool(await db.scalar(select(strict.exists())))


async def kinds(db: AsyncSession, user_id: UUID) -> list[str]:
    """Name what somebody can answer with."""
    app = await totp.find(db, user_id)
    found = {
        "totp": app is not None and app.confirmed_at is not None,
        "passkey": bool(await passkeys.of(db, user_id)),
        "recovery_code": await recovery_codes.unused(db, user_id) > 0,
    }
    return [kind for kind, there in found.items() if there]

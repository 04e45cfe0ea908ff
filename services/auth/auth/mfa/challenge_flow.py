"""Coming in: with what was shown first where that is all there is, or else when a second factor is shown too.

Whatever comes first (a password, a link of a mail) calls `enter`. A passkey is both factors and does not.
"""

from collections.abc import Sequence

from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from auth import users
from auth.factors import attempts, challenges, passkeys, recovery_codes, verification
from auth.factors.errors import (
    ChallengeInvalid,
    FactorRefused,
    SecondFactorEnrolmentRequired,
    SecondFactorRequired,
)
from auth.factors.schemas import SecondFactor
from auth.models import Aim
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
    has_factor = await verification.has_any(db, standing.user.id)
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
    factors = await verification.kinds(db, standing.user.id)
    told: dict[str, JsonValue] = {"challenge": asked.token, "factors": [*factors]}
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
            shown = await verification.prove(db, parts, standing.user, answer, challenge=token, code=code)
            await attempts.forget(db, user_id)
            bundle = await sessions.begin(
                db, parts, standing, verification.together(challenge.amr, shown), device=answer.device
            )
    except FactorRefused as refusal:
        raise await attempts.refuse(parts, user_id, failures, refusal) from None
    except attempts.UNSIGNED:
        await attempts.forgive(parts, user_id)
        raise
    return bundle

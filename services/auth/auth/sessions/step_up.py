"""Proving once more who one is, before what is sensitive (RFC 9470).

Which actions ask for it is in `sensitive_actions`. They answer 401 `insufficient_user_authentication` to a
session that was proved too long ago, or without the second factor that the account has; the client calls
`POST /step-up` and tries again with the new token.
"""

import time
from uuid import UUID

from servicekit.auth.tokens import Principal
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import users
from auth.audit import Action, record
from auth.errors import SessionEnded
from auth.factors import attempts, challenges, passkeys, recovery_codes, verification
from auth.factors.challenges import Asked
from auth.factors.errors import (
    ChallengeInvalid,
    FactorRefused,
    InsufficientUserAuthentication,
    SecondFactorNeeded,
)
from auth.factors.schemas import StepUp
from auth.models import Aim, Challenge, EndReason, Passkey, RecoveryCode, Session, User
from auth.schemas import SessionBundle
from auth.services import Parts
from auth.sessions import sessions

MINUTE = 60


async def of(db: AsyncSession, caller: Principal) -> Session:
    """Give a caller's live session; raises PeopleOnly or SessionEnded."""
    user_id = users.person(caller)
    mine = (Session.id == identity(caller.session_id), Session.user_id == user_id, sessions.LIVE)
    session: Session | None = await db.scalar(select(Session).where(*mine))
    if session is None:
        raise SessionEnded
    return session


async def verify_fresh(db: AsyncSession, parts: Parts, session: Session, minutes: int | None = None) -> None:
    """Verify that a session was proved recently, with a second factor if the account has one.

    `minutes` is how recently, by default AUTH_STEP_UP_MINUTES. Raises InsufficientUserAuthentication.
    """
    max_age = (minutes or parts.settings.auth_step_up_minutes) * MINUTE
    enough = "mfa" in session.amr or not await verification.has_any(db, session.user_id)
    if not enough or session.authenticated_at.timestamp() < time.time() - max_age:
        raise InsufficientUserAuthentication(max_age)


def identity(session_id: str | None) -> UUID | None:
    """Read a session's id; None if it is not one of ours."""
    try:
        return UUID(session_id or "")
    except ValueError:
        return None


async def ask_for_passkey(db: AsyncSession, parts: Parts, caller: Principal) -> tuple[Asked, list[Passkey]]:
    """Make the challenge that a passkey signs to prove it once more, for this session alone."""
    session = await of(db, caller)
    asked = challenges.ask(db, parts, Aim.STEP_UP, user_id=session.user_id, session_id=session.id)
    return asked, await passkeys.of(db, session.user_id)


async def step_up(parts: Parts, caller: Principal, proof: StepUp) -> SessionBundle:
    """Give a new session for a new proof, and end the one before: whoever holds that has gained nothing.

    Raises SecondFactorNeeded for a password where there is more, and else as `second_factor.finish`.
    """
    async with parts.database.begin() as db:
        user = await db.get_one(User, (await of(db, caller)).user_id)
        more = await verification.has_any(db, user.id)
    if proof.password and more:
        raise SecondFactorNeeded
    failures = await attempts.count(parts, user.id)
    try:
        if proof.password and not await parts.passwords.verify(
            proof.password.get_secret_value(), user.password_hash
        ):
            raise FactorRefused
        code = await recovery_codes.match(parts, user.id, proof.recovery_code)
        async with parts.database.begin() as db:
            return await proved(db, parts, caller, proof, code)
    except FactorRefused as refusal:
        raise await attempts.refuse(parts, user.id, failures, refusal) from None
    except attempts.UNSIGNED:
        await attempts.forgive(parts, user.id)
        raise


async def proved(
    db: AsyncSession, parts: Parts, caller: Principal, proof: StepUp, code: RecoveryCode | None
) -> SessionBundle:
    """Use the proof up, and exchange the session; it lives no longer than the one before would have."""
    # Of several proofs at once, the first ends the session.
    await users.hold_person(db, users.person(caller))
    session = await of(db, caller)
    standing = await sessions.entering(db, parts, session.user_id, session.tenant_id)
    if standing is None:
        raise SessionEnded
    amr = session.amr
    if not proof.password:
        challenge = await signed(db, parts, session, proof)
        shown = await verification.prove(db, parts, standing.user, proof, challenge=challenge, code=code)
        amr = verification.together(amr, shown)
    await attempts.forget(db, session.user_id)
    if not await sessions.end(db, EndReason.LOGOUT, Session.id == session.id):
        # Somebody has ended it meanwhile, and meant it.
        raise SessionEnded
    bundle = await sessions.begin(db, parts, standing, amr, after=session)
    record(
        db,
        Action.STEP_UP,
        tenant_id=bundle.tenant_id,
        actor=bundle.user_id,
        session_id=bundle.session_id,
        amr=amr,
        before=str(session.id),
    )
    return bundle


async def signed(db: AsyncSession, parts: Parts, session: Session, proof: StepUp) -> str:
    """Use up the challenge that a passkey has signed; nothing else has one. Raises ChallengeInvalid."""
    if not proof.passkey:
        return ""
    if not proof.challenge:
        raise ChallengeInvalid
    token = proof.challenge.get_secret_value()
    await challenges.take(db, parts, Aim.STEP_UP, token, Challenge.session_id == session.id)
    return token

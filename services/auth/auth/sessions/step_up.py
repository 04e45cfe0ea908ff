"""Step-up authentication before sensitive actions (RFC 9470).

Which actions ask for it is in `sensitive_actions`. They answer 401 `insufficient_user_authentication` to a
session that was proved too long ago, or without the second factor that the account has; the client calls
`POST /step-up` and tries again with the new token.
"""

import time
from typing import Any
from uuid import UUID

from servicekit.auth.tokens import Principal
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import users
from auth.audit import Action, record
from auth.errors import SessionEnded
from auth.factors import attempts, challenges, passkeys, recovery_codes, verification
from auth.factors.challenges import IssuedChallenge
from auth.factors.errors import (
    InsufficientUserAuthentication,
    InvalidChallenge,
    InvalidFactor,
    PasswordNotSufficient,
)
from auth.factors.schemas import StepUp
from auth.models import Challenge, ChallengePurpose, EndReason, Passkey, RecoveryCode, Session, User
from auth.schemas import TokenResponse
from auth.services import AuthServices
from auth.sessions import sessions
from auth.users import Access

MINUTE = 60


async def current_session(db: AsyncSession, caller: Principal) -> Session:
    """Return a caller's live session; raises PeopleOnly or SessionEnded."""
    user_id = users.user_id_of(caller)
    mine = (Session.id == parse_session_id(caller.session_id), Session.user_id == user_id, sessions.IS_LIVE)
    session: Session | None = await db.scalar(select(Session).where(*mine))
    if session is None:
        raise SessionEnded
    return session


async def require_recent_auth(
    db: AsyncSession, services: AuthServices, session: Session, minutes: int | None = None
) -> None:
    """Verify that a session was proved recently, with a second factor if the account has one.

    `minutes` is how recently, by default AUTH_STEP_UP_MINUTES. Raises InsufficientUserAuthentication.
    """
    max_age = (minutes or services.settings.auth_step_up_minutes) * MINUTE
    enough = "mfa" in session.amr or not await verification.has_any(db, session.user_id)
    if not enough or session.authenticated_at.timestamp() < time.time() - max_age:
        raise InsufficientUserAuthentication(max_age)


def parse_session_id(session_id: str | None) -> UUID | None:
    """Read a session's id; return None if it is malformed."""
    try:
        return UUID(session_id or "")
    except ValueError:
        return None


async def issue_passkey_challenge(
    db: AsyncSession, services: AuthServices, caller: Principal
) -> tuple[IssuedChallenge, list[Passkey]]:
    """Create the challenge that a passkey signs to prove it once more, for this session alone."""
    session = await current_session(db, caller)
    challenge = challenges.issue(
        db, services, ChallengePurpose.STEP_UP, user_id=session.user_id, session_id=session.id
    )
    return challenge, await passkeys.list_for_user(db, session.user_id)


async def step_up(services: AuthServices, caller: Principal, proof: StepUp) -> TokenResponse:
    """Exchange a new proof for a new session, and end the previous one.

    Raises PasswordNotSufficient for a password where a factor is enrolled, and else what
    `challenge_flow.answer_challenge` raises.
    """
    async with services.database.begin() as db:
        user = await db.get_one(User, (await current_session(db, caller)).user_id)
        more = await verification.has_any(db, user.id)
    if proof.password and more:
        raise PasswordNotSufficient
    failures = await attempts.register(services, user.id)
    try:
        await verify_password(services, user, proof)
        code = await recovery_codes.find_matching(services, user.id, proof.recovery_code)
        async with services.database.begin() as db:
            return await exchange_session(db, services, caller, proof, code)
    except InvalidFactor as refusal:
        raise await attempts.record_failure(services, user.id, failures, refusal) from None
    except attempts.SIGNING_ERRORS:
        await attempts.reset_after_outage(services, user.id)
        raise


async def verify_password(services: AuthServices, user: User, proof: StepUp) -> None:
    """Verify the password, if that is the proof; raises InvalidFactor."""
    password = proof.password.get_secret_value() if proof.password else None
    if password and not await services.passwords.verify(password, user.password_hash):
        raise InvalidFactor


async def exchange_session(
    db: AsyncSession, services: AuthServices, caller: Principal, proof: StepUp, code: RecoveryCode | None
) -> TokenResponse:
    """Consume the proof, and exchange the session for one with the same end."""
    # Of several proofs at once, the first ends the session.
    await users.lock_user(db, users.user_id_of(caller))
    session = await current_session(db, caller)
    access = await sessions.get_access(db, services, session.user_id, session.tenant_id)
    if access is None:
        raise SessionEnded
    amr = await verify_proof(db, services, access, session, proof, code)
    await attempts.reset(db, session.user_id)
    if not await sessions.end(db, EndReason.LOGOUT, Session.id == session.id):
        # Somebody has ended it meanwhile, and meant it.
        raise SessionEnded
    tokens = await sessions.begin(db, services, access, amr, after=session)
    now: dict[str, Any] = {"tenant_id": tokens.tenant_id, "session_id": tokens.session_id, "amr": amr}
    record(db, Action.STEP_UP, actor=tokens.user_id, before=str(session.id), **now)
    return tokens


async def verify_proof(  # noqa: PLR0913, PLR0917  # the proof, and what it has to fit
    db: AsyncSession,
    services: AuthServices,
    access: Access,
    session: Session,
    proof: StepUp,
    code: RecoveryCode | None,
) -> list[str]:
    """Consume a factor; return the methods of the session with it. A password was verified before."""
    if proof.password:
        return session.amr
    challenge = await consume_challenge(db, services, session, proof)
    amr = await verification.verify_factor(db, services, access.user, proof, challenge=challenge, code=code)
    return verification.merge_amr(session.amr, amr)


async def consume_challenge(db: AsyncSession, services: AuthServices, session: Session, proof: StepUp) -> str:
    """Consume the challenge that a passkey has signed. Raises InvalidChallenge."""
    if not proof.passkey:
        return ""
    if not proof.challenge:
        raise InvalidChallenge
    token = proof.challenge.get_secret_value()
    await challenges.consume(
        db, services, ChallengePurpose.STEP_UP, token, Challenge.session_id == session.id
    )
    return token

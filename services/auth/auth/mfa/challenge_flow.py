"""Signing in with a first factor, or asking for a second one where the user has one.

Whatever comes first (a password, the link in an email) calls `sign_in_or_challenge`. A passkey is both
factors and does not.
"""

from collections.abc import Sequence
from uuid import UUID

from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from auth import users
from auth.factors import attempts, challenges, passkeys, recovery_codes, verification
from auth.factors.challenges import IssuedChallenge
from auth.factors.errors import (
    InvalidChallenge,
    InvalidFactor,
    SecondFactorEnrolmentRequired,
    SecondFactorRequired,
)
from auth.factors.schemas import SecondFactor
from auth.models import ChallengePurpose, RecoveryCode, User
from auth.schemas import TokenResponse
from auth.services import AuthServices
from auth.sessions import sessions
from auth.users import Access

# Given back and not raised: raising would undo the challenge before it is committed.
ChallengeRequired = SecondFactorRequired | SecondFactorEnrolmentRequired


async def sign_in_or_challenge(
    db: AsyncSession, services: AuthServices, access: Access, amr: Sequence[str], device: str | None = None
) -> TokenResponse | ChallengeRequired:
    """Begin a session, or return the challenge for a second factor; `amr` lists the methods (RFC 8176).

    The caller raises a returned challenge once the transaction is committed.
    """
    has_factor = await verification.has_any(db, access.user.id)
    if not has_factor and not access.tenant.mfa_required:
        return await sessions.begin(db, services, access, amr, device=device)
    challenge = challenges.issue(
        db,
        services,
        ChallengePurpose.SECOND_FACTOR if has_factor else ChallengePurpose.ENROLMENT,
        user_id=access.user.id,
        tenant_id=access.tenant.id,
        amr=amr,
    )
    if not has_factor:
        return SecondFactorEnrolmentRequired(challenge.token)
    return SecondFactorRequired(await describe_challenge(db, services, access.user, challenge))


async def describe_challenge(
    db: AsyncSession, services: AuthServices, user: User, challenge: IssuedChallenge
) -> dict[str, JsonValue]:
    """Return a challenge with the factors that can answer it, as its client needs them."""
    factors = await verification.list_kinds(db, user.id)
    extensions: dict[str, JsonValue] = {"challenge": challenge.token, "factors": [*factors]}
    own_passkeys = await passkeys.list_for_user(db, user.id)
    if own_passkeys and services.settings.rp_id:
        extensions["passkey"] = passkeys.authentication_options(
            services, challenge.webauthn_challenge, own_passkeys
        )
    return extensions


async def answer_challenge(services: AuthServices, answer: SecondFactor) -> TokenResponse:
    """Answer a challenge with a second factor, and begin the session.

    Raises InvalidChallenge, InvalidFactor or FactorsBlocked.
    """
    token = answer.challenge.get_secret_value()
    async with services.database.begin() as db:
        user_id = await challenges.owner(db, services, ChallengePurpose.SECOND_FACTOR, token)
    failures = await attempts.register(services, user_id)
    try:
        code = await recovery_codes.find_matching(services, user_id, answer.recovery_code)
        async with services.database.begin() as db:
            return await begin_session(db, services, user_id, answer, code)
    except InvalidFactor as refusal:
        raise await attempts.record_failure(services, user_id, failures, refusal) from None
    except attempts.SIGNING_ERRORS:
        await attempts.reset_after_outage(services, user_id)
        raise


async def begin_session(
    db: AsyncSession, services: AuthServices, user_id: UUID, answer: SecondFactor, code: RecoveryCode | None
) -> TokenResponse:
    """Consume a challenge and the factor that answers it, and begin the session."""
    await users.lock_user(db, user_id)
    token = answer.challenge.get_secret_value()
    # A wrong answer undoes this: the challenge may be tried again, as often as is counted.
    challenge = await challenges.consume(db, services, ChallengePurpose.SECOND_FACTOR, token)
    access = await sessions.get_access(db, services, user_id, challenge.tenant_id)
    if access is None:
        raise InvalidChallenge
    amr = await verification.verify_factor(db, services, access.user, answer, challenge=token, code=code)
    await attempts.reset(db, user_id)
    methods = verification.merge_amr(challenge.amr, amr)
    return await sessions.begin(db, services, access, methods, device=answer.device)

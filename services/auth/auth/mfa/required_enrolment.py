"""Set up a first second factor during sign-in, where the tenant requires one."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from auth import users
from auth.factors import challenges, passkeys, recovery_codes, totp, verification
from auth.factors.errors import InvalidChallenge
from auth.factors.schemas import Enrolled, EnrolmentCode, NewPasskey
from auth.mfa import enrolment
from auth.models import ChallengePurpose, User
from auth.services import AuthServices
from auth.sessions import sessions

VerifiedFactor = totp.VerifiedTotp | passkeys.VerifiedPasskey


async def begin_totp(services: AuthServices, challenge: str) -> tuple[str, str]:
    """Return the seed and the address of a new authenticator app; raises InvalidChallenge."""
    async with services.database.begin() as db:
        user_id = await challenges.owner(db, services, ChallengePurpose.ENROLMENT, challenge)
        return await totp.begin(db, services, await lock_user_without_factor(db, user_id))


async def begin_passkey(services: AuthServices, challenge: str) -> passkeys.Options:
    """Return what a browser needs to make a passkey, for the same challenge; raises InvalidChallenge."""
    async with services.database.begin() as db:
        user = await lock_user_without_factor(
            db, await challenges.owner(db, services, ChallengePurpose.ENROLMENT, challenge)
        )
        return await passkeys.registration_options(
            db, services, user, challenges.webauthn_challenge_of(challenge)
        )


async def finish(services: AuthServices, answer: EnrolmentCode | NewPasskey) -> Enrolled:
    """Store the factor and begin the session.

    Raises InvalidChallenge, InvalidTotpCode, InvalidPasskey or PasskeyAlreadyExists.
    """
    token = answer.challenge.get_secret_value()
    async with services.database.begin() as db:
        user = await lock_user_without_factor(
            db, await challenges.owner(db, services, ChallengePurpose.ENROLMENT, token)
        )
        # What does not fit undoes this: it can be set up right until the challenge is too old.
        challenge = await challenges.consume(db, services, ChallengePurpose.ENROLMENT, token)
        checked = await verify(db, services, user, answer)
    prepared = await recovery_codes.prepare_first(services, user.id)
    async with services.database.begin() as db:
        user = await lock_user_without_factor(db, user.id)
        access = await sessions.get_access(db, services, user.id, challenge.tenant_id)
        if access is None:
            raise InvalidChallenge
        kind, factor_amr = await store(db, user, checked)
        codes = await enrolment.finish_adding(db, services, user, access.tenant.id, kind, prepared=prepared)
        amr = verification.merge_amr(challenge.amr, factor_amr)
        tokens = await sessions.begin(db, services, access, amr)
    return Enrolled(**tokens.model_dump(), recovery_codes=codes)


async def verify(
    db: AsyncSession, services: AuthServices, user: User, answer: EnrolmentCode | NewPasskey
) -> VerifiedFactor:
    """Verify a new factor; raises InvalidTotpCode or InvalidPasskey."""
    if isinstance(answer, EnrolmentCode):
        return await totp.verify_first_code(db, services, user.id, answer.code.get_secret_value())
    return passkeys.verify_registration(
        services, answer, challenges.webauthn_challenge_of(answer.challenge.get_secret_value())
    )


async def store(db: AsyncSession, user: User, checked: VerifiedFactor) -> tuple[str, list[str]]:
    """Store the factor; return its kind and the methods that it has proved (RFC 8176)."""
    if isinstance(checked, totp.VerifiedTotp):
        await totp.confirm(db, checked)
        return enrolment.TOTP, ["otp"]
    await passkeys.register(db, user, checked)
    return enrolment.PASSKEY, checked.amr


async def lock_user_without_factor(db: AsyncSession, user_id: UUID) -> User:
    """Lock and return a user who has no second factor; raises InvalidChallenge for others."""
    user = await users.lock_user(db, user_id)
    if user is None or await verification.has_any(db, user_id):
        raise InvalidChallenge
    return user

"""Setting a first factor up while signing in, where the tenant lets nobody in without."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from auth import users
from auth.factors import challenges, passkeys, recovery_codes, totp, verification
from auth.factors.errors import ChallengeInvalid
from auth.factors.schemas import Enrolled, EnrolmentCode, NewPasskey
from auth.mfa import enrolment
from auth.models import Aim, User
from auth.services import Parts
from auth.sessions import sessions

Checked = totp.Checked | passkeys.Checked


async def begin_totp(parts: Parts, challenge: str) -> tuple[str, str]:
    """Give the seed and the address of a new authenticator app; raises ChallengeInvalid."""
    async with parts.database.begin() as db:
        user_id = await challenges.whose(db, parts, Aim.ENROLMENT, challenge)
        return await totp.begin(db, parts, await without_factor(db, user_id))


async def begin_passkey(parts: Parts, challenge: str) -> passkeys.Options:
    """Give what a browser needs to make a passkey, for the same challenge; raises ChallengeInvalid."""
    async with parts.database.begin() as db:
        user = await without_factor(db, await challenges.whose(db, parts, Aim.ENROLMENT, challenge))
        return await passkeys.options_to_register(db, parts, user, challenges.to_sign(challenge))


async def finish(parts: Parts, answer: EnrolmentCode | NewPasskey) -> Enrolled:
    """Let the factor count, and begin the session.

    Raises ChallengeInvalid, and CodeRefused, PasskeyNotRegistered or PasskeyKnown for what does not fit.
    """
    token = answer.challenge.get_secret_value()
    async with parts.database.begin() as db:
        user = await without_factor(db, await challenges.whose(db, parts, Aim.ENROLMENT, token))
        # What does not fit undoes this: it can be set up right until the challenge is too old.
        challenge = await challenges.take(db, parts, Aim.ENROLMENT, token)
        checked = await check(db, parts, user, answer)
    prepared = await recovery_codes.prepare_first(parts, user.id)
    async with parts.database.begin() as db:
        user = await without_factor(db, user.id)
        standing = await sessions.entering(db, parts, user.id, challenge.tenant_id)
        if standing is None:
            raise ChallengeInvalid
        kind, shown = await set_up(db, user, checked)
        codes = await enrolment.added(db, parts, user, standing.tenant.id, kind, prepared=prepared)
        amr = verification.together(challenge.amr, shown)
        bundle = await sessions.begin(db, parts, standing, amr)
    return Enrolled(**bundle.model_dump(), recovery_codes=codes)


async def check(db: AsyncSession, parts: Parts, user: User, answer: EnrolmentCode | NewPasskey) -> Checked:
    """Check what is shown of a new factor; raises CodeRefused or PasskeyNotRegistered."""
    if isinstance(answer, EnrolmentCode):
        return await totp.check(db, parts, user.id, answer.code.get_secret_value())
    return passkeys.check(parts, answer, challenges.to_sign(answer.challenge.get_secret_value()))


async def set_up(db: AsyncSession, user: User, checked: Checked) -> tuple[str, list[str]]:
    """Keep the factor; gives its kind, and what setting it up has proved (RFC 8176)."""
    if isinstance(checked, totp.Checked):
        await totp.confirm(db, checked)
        return enrolment.TOTP, ["otp"]
    await passkeys.register(db, user, checked)
    return enrolment.PASSKEY, checked.amr


async def without_factor(db: AsyncSession, user_id: UUID) -> User:
    """Give a person, held, who has no factor: one who has is asked for that. Raises ChallengeInvalid."""
    user = await users.hold_person(db, user_id)
    if user is None or await verification.has_any(db, user_id):
        raise ChallengeInvalid
    return user

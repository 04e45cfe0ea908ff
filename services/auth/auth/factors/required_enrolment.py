"""Setting a first factor up while signing in, where the tenant lets nobody in without."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from auth import accounts, sessions
from auth.factors import challenges, enrolment, second_factor, totp
from auth.factors.errors import ChallengeInvalid
from auth.factors.schemas import Enrolled, EnrolmentCode
from auth.models import Aim, User
from auth.parts import Parts


async def begin(parts: Parts, challenge: str) -> tuple[str, str]:
    """Give the seed and the address of a new authenticator app; raises ChallengeInvalid."""
    async with parts.database.begin() as db:
        user_id = await challenges.whose(db, parts, Aim.ENROLMENT, challenge)
        return await totp.begin(db, parts, await without_factor(db, user_id))


async def finish(parts: Parts, answer: EnrolmentCode) -> Enrolled:
    """Let the app count, and begin the session; raises ChallengeInvalid or CodeRefused."""
    token = answer.challenge.get_secret_value()
    async with parts.database.begin() as db:
        user = await without_factor(db, await challenges.whose(db, parts, Aim.ENROLMENT, token))
        # A wrong code undoes this: the app can be set up right until the challenge is too old.
        challenge = await challenges.take(db, parts, Aim.ENROLMENT, token)
        standing = await sessions.entering(db, parts, user.id, challenge.tenant_id)
        if standing is None:
            raise ChallengeInvalid
        await totp.confirm(db, parts, user.id, answer.code.get_secret_value())
        codes = await enrolment.added(db, parts, user, standing.tenant.id, enrolment.TOTP)
        amr = second_factor.together(challenge.amr, ["otp"])
        bundle = await sessions.begin(db, parts, standing, amr)
    return Enrolled(**bundle.model_dump(), recovery_codes=codes)


async def without_factor(db: AsyncSession, user_id: UUID) -> User:
    """Give a person, held, who has no factor: one who has is asked for that. Raises ChallengeInvalid."""
    user = await accounts.hold_person(db, user_id)
    if user is None or await second_factor.has_any(db, user_id):
        raise ChallengeInvalid
    return user

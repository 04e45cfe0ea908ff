"""Signing in with a passkey and nothing else: the device is one factor, and what unlocks it the other."""

from auth.audit import Action, record
from auth.factors import attempts, challenges, passkeys
from auth.factors.errors import FactorRefused
from auth.factors.schemas import PasskeySignIn
from auth.models import Aim
from auth.schemas import SessionBundle
from auth.services import Parts
from auth.sessions import sessions


async def begin(parts: Parts) -> tuple[str, passkeys.Options]:
    """Give a challenge for whoever it may be, and what a browser needs to find a passkey."""
    async with parts.database.begin() as db:
        asked = challenges.ask(db, parts, Aim.PASSKEY_SIGN_IN)
        return asked.token, passkeys.options_to_sign(parts, asked.to_sign, [])


async def sign_in(parts: Parts, shown: PasskeySignIn) -> SessionBundle:
    """Begin a session; raises ChallengeInvalid or FactorRefused, the same whatever is not right.

    It cannot be guessed at, so it is also the way in while the account's other factors are blocked.
    """
    token = shown.challenge.get_secret_value()
    # On its own: the challenge is used up whatever comes of it.
    async with parts.database.begin() as db:
        await challenges.take(db, parts, Aim.PASSKEY_SIGN_IN, token)
    try:
        async with parts.database.begin() as db:
            user_id, amr = await passkeys.use(db, parts, shown.passkey, challenges.to_sign(token))
            standing = await sessions.entering(db, parts, user_id, shown.tenant_id)
            if standing is None:
                raise FactorRefused
            await attempts.forget(db, user_id)
            bundle = await sessions.begin(db, parts, standing, amr, device=shown.device)
    except FactorRefused as refusal:
        await note(parts, refusal)
        raise
    return bundle


async def note(parts: Parts, refusal: FactorRefused) -> None:
    """Write a refusal down, and sound the alarm for a passkey that somebody has copied."""
    async with parts.database.begin() as db:
        record(db, Action.LOGIN_FAIL, way="passkey")
        if refusal.cloned:
            record(db, Action.PASSKEY_CLONED, passkey=str(refusal.cloned))

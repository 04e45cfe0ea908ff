"""Sign in with a passkey alone: the device is one factor, what unlocks it the other."""

from auth.audit import Action, record
from auth.factors import attempts, challenges, passkeys
from auth.factors.errors import InvalidFactor
from auth.factors.schemas import PasskeySignIn
from auth.models import ChallengePurpose
from auth.schemas import TokenResponse
from auth.services import AuthServices
from auth.sessions import sessions


async def begin(services: AuthServices) -> tuple[str, passkeys.Options]:
    """Issue a challenge for any user, and return what a browser needs to find a passkey."""
    async with services.database.begin() as db:
        challenge = challenges.issue(db, services, ChallengePurpose.PASSKEY_SIGN_IN)
        return challenge.token, passkeys.authentication_options(services, challenge.webauthn_challenge, [])


async def sign_in(services: AuthServices, request: PasskeySignIn) -> TokenResponse:
    """Begin a session; raises InvalidChallenge or InvalidFactor, the same whatever is not right.

    It cannot be guessed, so it is accepted while the account's other factors are blocked.
    """
    token = request.challenge.get_secret_value()
    # On its own: the challenge is used up whatever comes of it.
    async with services.database.begin() as db:
        await challenges.consume(db, services, ChallengePurpose.PASSKEY_SIGN_IN, token)
    try:
        async with services.database.begin() as db:
            to_sign = challenges.webauthn_challenge_of(token)
            user_id, amr = await passkeys.authenticate(db, services, request.passkey, to_sign)
            access = await sessions.get_access(db, services, user_id, request.tenant_id)
            if access is None:
                raise InvalidFactor
            await attempts.reset(db, user_id)
            return await sessions.begin(db, services, access, amr, device=request.device)
    except InvalidFactor as refusal:
        await record_failure(services, refusal)
        raise


async def record_failure(services: AuthServices, refusal: InvalidFactor) -> None:
    """Audit a failure, and a cloned passkey."""
    async with services.database.begin() as db:
        record(db, Action.LOGIN_FAIL, way="passkey")
        if refusal.cloned:
            record(db, Action.PASSKEY_CLONED, passkey=str(refusal.cloned))

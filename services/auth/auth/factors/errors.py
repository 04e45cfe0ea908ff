"""What can go wrong with second factors, passkeys and magic links, named as clients read it."""

from uuid import UUID

from pydantic import JsonValue
from servicekit.errors import BadRequest, Conflict, NotFound, TooManyRequests, Unauthenticated

from auth.errors import Challenged


class SecondFactorRequired(Unauthenticated):
    """What came first was right, and the account has a second factor: `challenge` is to be answered with it.

    `factors` names what it can be answered with; `passkey` is what a browser needs to ask for one.
    """

    default_detail = "Second factor required."

    def __init__(self, extensions: dict[str, JsonValue]) -> None:
        super().__init__(headers={"WWW-Authenticate": "Bearer", "Cache-Control": "no-store"})
        self.extensions = extensions


class SecondFactorEnrolmentRequired(Unauthenticated):
    """What came first was right, but the tenant wants two factors: `challenge` lets one be set up."""

    default_detail = "Your tenant requires a second factor. Set one up to continue."

    def __init__(self, challenge: str) -> None:
        headers = {"WWW-Authenticate": "Bearer", "Cache-Control": "no-store"}
        super().__init__(headers=headers, challenge=challenge)


class InvalidChallenge(Challenged):
    """The challenge is unknown, answered already, too old, or was given to somebody elsewhere."""

    default_detail = "This challenge has expired or has already been used. Start again."


class InvalidFactor(Challenged):
    """One answer for every code and passkey that does not prove anything; `cloned` is for us alone."""

    default_detail = "Verification failed. Try again, or use another of your factors."

    def __init__(self, cloned: UUID | None = None) -> None:
        super().__init__()
        self.cloned = cloned


class FactorsBlocked(TooManyRequests):
    """An account's factors were answered for wrongly too often in a row."""

    default_detail = "Too many failed attempts. Try again later, or sign in with a passkey."


class PasswordNotSufficient(Challenged):
    """A password alone proves too little for an account that has a second factor."""

    default_detail = "A password is not sufficient here. Use your second factor."


class InsufficientUserAuthentication(Unauthenticated):
    """What is sensitive needs a proof that is neither too old nor too weak (RFC 9470)."""

    default_detail = "This action requires recent authentication. Verify your identity, then try again."

    def __init__(self, max_age: int) -> None:
        challenge = f'Bearer error="insufficient_user_authentication", max_age={max_age}'
        super().__init__(headers={"WWW-Authenticate": challenge}, max_age=max_age)


class SecondFactorMissing(Challenged):
    """The tenant wants two factors, and the session was begun with one: sign in again."""

    default_detail = (
        "Your tenant requires a second factor. Sign in again; if you have none yet, you can set one up then."
    )


class InvalidTotpCode(BadRequest):
    """The code is not the app's of now, so the app is not set up yet."""

    default_detail = "Incorrect code. Check the clock of your device, and enter the latest code."


class InvalidPasskey(BadRequest):
    """The passkey is not valid here, or its challenge has expired; the answer does not say which."""

    default_detail = "The passkey could not be registered. Start again."


class PasskeyAlreadyExists(Conflict):
    """Somebody has registered the same passkey already."""

    default_detail = "This passkey is already registered."


class TooManyPasskeys(Conflict):
    """An account has only so many passkeys."""

    default_detail = "The maximum number of passkeys is reached. Remove one first."


class TotpAlreadyExists(Conflict):
    """The account has an authenticator app."""

    default_detail = "An authenticator app is already set up. Remove it first."


class LastFactorRequired(Conflict):
    """A tenant of the person requires a second factor, and this is the only one."""

    default_detail = (
        "One of your tenants requires a second factor, and this is your only one."
        " Add another before you remove it."
    )


class FactorNotFound(NotFound):
    """There is no such factor, as far as this caller may know."""

    default_detail = "Second factor not found."


class PasskeysDisabled(NotFound):
    """The host that passkeys are bound to is not configured."""

    default_detail = "Passkeys are not enabled here."


class MagicLinksDisabled(NotFound):
    """Whoever runs this service does not let people in by mail alone."""

    default_detail = "Signing in by email link is disabled."

"""Errors of second factors, passkeys and magic links, named as clients read them."""

from uuid import UUID

from pydantic import JsonValue
from servicekit.errors import BadRequest, Conflict, NotFound, TooManyRequests, Unauthenticated

from auth.errors import Challenged


class SecondFactorRequired(Unauthenticated):
    """The first factor is correct; answer `challenge` with a second factor of the account.

    `factors` lists the possible ones; `passkey` has the options for `navigator.credentials.get`.
    """

    default_detail = "Second factor required."

    def __init__(self, extensions: dict[str, JsonValue]) -> None:
        super().__init__(headers={"WWW-Authenticate": "Bearer", "Cache-Control": "no-store"})
        self.extensions = extensions


class SecondFactorEnrolmentRequired(Unauthenticated):
    """The first factor is correct, but the tenant requires two; `challenge` permits to set one up."""

    default_detail = "Your tenant requires a second factor. Set one up to continue."

    def __init__(self, challenge: str) -> None:
        headers = {"WWW-Authenticate": "Bearer", "Cache-Control": "no-store"}
        super().__init__(headers=headers, challenge=challenge)


class InvalidChallenge(Challenged):
    """The challenge is unknown, used, expired, or was issued to another address."""

    default_detail = "This challenge has expired or has already been used. Start again."


class InvalidFactor(Challenged):
    """The code or passkey is invalid; the answer does not say why (`cloned` is only audited)."""

    default_detail = "Verification failed. Try again, or use another of your factors."

    def __init__(self, cloned: UUID | None = None) -> None:
        super().__init__()
        self.cloned = cloned


class FactorsBlocked(TooManyRequests):
    """Too many consecutive wrong answers for an account's factors."""

    default_detail = "Too many failed attempts. Try again later, or sign in with a passkey."


class PasswordNotSufficient(Challenged):
    """The account has a second factor, so the password alone is not sufficient."""

    default_detail = "A password is not sufficient here. Use your second factor."


class InsufficientUserAuthentication(Unauthenticated):
    """The proof of identity is too old or too weak for a sensitive action (RFC 9470)."""

    default_detail = "This action requires recent authentication. Verify your identity, then try again."

    def __init__(self, max_age: int) -> None:
        challenge = f'Bearer error="insufficient_user_authentication", max_age={max_age}'
        super().__init__(headers={"WWW-Authenticate": challenge}, max_age=max_age)


class SecondFactorMissing(Challenged):
    """The tenant requires two factors, and the session began with one: sign in again."""

    default_detail = (
        "Your tenant requires a second factor. Sign in again; if you have none yet, you can set one up then."
    )


class InvalidTotpCode(BadRequest):
    """The code is not the current one of the new authenticator app."""

    default_detail = "Incorrect code. Check the clock of your device, and enter the latest code."


class InvalidPasskey(BadRequest):
    """The passkey is not valid here, or its challenge has expired; the answer does not say which."""

    default_detail = "The passkey could not be registered. Start again."


class PasskeyAlreadyExists(Conflict):
    """The passkey is already registered."""

    default_detail = "This passkey is already registered."


class TooManyPasskeys(Conflict):
    """The account has the maximum number of passkeys."""

    default_detail = "The maximum number of passkeys is reached. Remove one first."


class TotpAlreadyExists(Conflict):
    """The account already has an authenticator app."""

    default_detail = "An authenticator app is already set up. Remove it first."


class LastFactorRequired(Conflict):
    """A tenant of the person requires a second factor, and this is the only one."""

    default_detail = (
        "One of your tenants requires a second factor, and this is your only one."
        " Add another before you remove it."
    )


class FactorNotFound(NotFound):
    """The caller has no such factor."""

    default_detail = "Second factor not found."


class PasskeysDisabled(NotFound):
    """The host that passkeys are bound to is not configured."""

    default_detail = "Passkeys are not enabled here."


class MagicLinksDisabled(NotFound):
    """Signing in by email link is disabled."""

    default_detail = "Signing in by email link is disabled."

"""Errors of auth, named as clients read them."""

from servicekit.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    ServiceError,
    Unauthenticated,
    Unavailable,
    Unprocessable,
)

# RFC 6749 section 5.2; libraries read `error` of no other.
OAUTH_MEDIA_TYPE = "application/json"


class Challenged(Unauthenticated):
    """A refusal with the challenge that every 401 carries (RFC 9110 section 15.5.2)."""

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": "Bearer"})


class InvalidCredentials(Challenged):
    """One answer for an unknown address, a wrong password, an unconfirmed and a disabled account."""

    default_detail = (
        "Incorrect email or password. If you have just signed up, verify your email address first."
    )


class InvalidRefreshToken(Challenged):
    """The refresh token is unknown or expired, or its session has ended."""

    default_detail = "Your session has ended. Sign in again."


class RefreshTokenReused(Challenged):
    """A refresh token was used a second time, so it was copied: the session has ended."""

    default_detail = "This refresh token has already been used, so the session was ended. Sign in again."


class SessionEnded(Unauthenticated):
    """The access token is valid, but its session has ended."""

    default_detail = "Your session has ended. Sign in again."

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})


class SessionNotFound(NotFound):
    """The caller has no such session, or no longer."""


class UserNotFound(NotFound):
    """No account has this id or email address; only operators get this answer."""

    default_detail = "User not found."


class PeopleOnly(Forbidden):
    """A machine called a route for people."""

    default_detail = "This requires a user's access token, not a service's."


class InvalidEmailToken(BadRequest):
    """The token of an email is unknown, used, replaced or expired; the answer does not say which."""

    default_detail = "This link is invalid or has expired. Request a new one."


class SignUpPasswordRequired(BadRequest):
    """Several registrations of the address are pending; the password selects one."""

    default_detail = (
        "Several sign-ups are waiting for this email address. Enter the password that you signed up with."
    )


class InvalidSignUpPassword(BadRequest):
    """No pending registration of the address has this password; the link stays valid."""

    default_detail = (
        "Incorrect password for the sign-ups of this email address."
        " Enter the password that you signed up with, or sign up again."
    )


class PasswordTooShort(Unprocessable):
    """A password that is the only factor has at least 15 characters (NIST SP 800-63B-4, 3.1.1.2)."""

    default_detail = (
        "The password must have at least 15 characters. A few unrelated words are easy to remember."
    )


class PasswordTooLong(Unprocessable):
    """The password is longer than what is hashed."""

    default_detail = "The password must have at most 256 characters."


class PasswordTooWeak(Unprocessable):
    """Nearly all of the password consists of common words, names and repetition."""

    default_detail = (
        "This password is too easy to guess: it is mostly common passwords or your own names."
        " Use a few unrelated words."
    )


class PasswordBreached(Unprocessable):
    """The password is in a list of leaked ones."""

    default_detail = "This password has appeared in a data breach. Choose another one."


class TooManySignIns(Unavailable):
    """Too many passwords are waiting to be hashed."""

    default_detail = "Too many sign-ins at the moment. Try again in a few seconds."


class SigningKeysUnavailable(Unavailable):
    """There is no key to sign with."""


class OAuthError(ServiceError):
    """An OAuth error response, with `error` beside the members of a problem (RFC 6749 section 5.2)."""

    media_type = OAUTH_MEDIA_TYPE

    def __init__(self) -> None:
        super().__init__(error=self.code())


class InvalidClient(Unauthenticated):
    """One answer for an unknown client and a wrong secret (RFC 6749 section 5.2).

    The token endpoint adds a challenge where the client tried one of HTTP's schemes.
    """

    default_detail = "Client authentication failed."
    media_type = OAUTH_MEDIA_TYPE

    def __init__(self) -> None:
        super().__init__(error=self.code())


class InvalidRequest(OAuthError, BadRequest):
    """A parameter is missing, repeated or malformed (RFC 6749 section 5.2)."""

    default_detail = "Use exactly one client authentication method, and parameters that match its credential."


class InvalidTarget(OAuthError, BadRequest):
    """The client may not call this service (RFC 8707 section 2)."""

    default_detail = "This client may not request tokens for this audience."


class InvalidScope(OAuthError, BadRequest):
    """The client may not do this there (RFC 6749 section 5.2)."""

    default_detail = "This client may not request all of these scopes for this audience."


class UnsupportedGrantType(OAuthError, BadRequest):
    """Machines get tokens by client_credentials alone (RFC 6749 section 5.2)."""

    default_detail = "Use grant_type=client_credentials."

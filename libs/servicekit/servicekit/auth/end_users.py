"""End users of an application: the people for whom an API key or a service account calls.

What is stored and counted for one is owned by `<subject>/<name>`, so that end users of one key share nothing.
"""

from dataclasses import replace

from starlette.requests import HTTPConnection

from servicekit.auth.header_claims import get_single_header
from servicekit.auth.tokens import Principal
from servicekit.errors import BadRequest, Forbidden

HEADER = "Acme-End-User"
MAX_LENGTH = 128


class InvalidEndUser(BadRequest):
    """The name of an end user is empty, too long, or has characters that cannot be printed."""

    default_detail = (
        f"An end user is named by 1 to {MAX_LENGTH} printable characters, with no space at either end."
    )


class EndUserForbidden(Forbidden):
    """A person's token names an end user."""

    default_detail = "Only API keys and service accounts act for end users."


def apply_end_user(connection: HTTPConnection, principal: Principal) -> Principal:
    """Apply the header `Acme-End-User`; raises EndUserForbidden, InvalidEndUser."""
    name = get_single_header(connection, HEADER)
    if name is None:
        return principal
    if not principal.is_application:
        raise EndUserForbidden
    return replace(principal, end_user=validate_end_user(decode_header(name)))


def decode_header(value: str) -> str:
    """Return a header's text, which is UTF-8 and was read as Latin-1; raises InvalidEndUser."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        raise InvalidEndUser from None


def validate_end_user(name: str) -> str:
    """Return the name of an end user; raises InvalidEndUser."""
    if not 0 < len(name) <= MAX_LENGTH or not name.isprintable() or name != name.strip():
        raise InvalidEndUser
    return name


def application_of(user_id: str) -> str:
    """Return whose credentials act for a user: those of the application, or the user's own."""
    return user_id.partition("/")[0]

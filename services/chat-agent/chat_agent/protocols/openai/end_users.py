"""End users that the bodies of OpenAI's clients name: the header `Acme-End-User` takes precedence."""

from dataclasses import replace
from typing import Protocol
from urllib.parse import unquote

from servicekit.auth.end_users import InvalidEndUser, validate_end_user
from servicekit.auth.tokens import Principal

from chat_agent.models import Run
from chat_agent.protocols.errors import InvalidParameter


class NamesEndUser(Protocol):
    """A body that may name an end user."""

    safety_identifier: str | None
    user: str | None


def acting_for(caller: Principal, body: NamesEndUser) -> Principal:
    """Return the caller for the end user that a body names; a person acts for nobody else.

    Raises InvalidParameter.
    """
    if caller.end_user is not None or not caller.is_application:
        return caller
    for parameter, name in (("safety_identifier", body.safety_identifier), ("user", body.user)):
        if name is None:
            continue
        try:
            return replace(caller, end_user=validate_end_user(name))
        except InvalidEndUser as error:
            raise InvalidParameter(parameter, error.detail) from None
    return caller


def acting_as_owner(caller: Principal, run: Run) -> Principal:
    """Return an application that names nobody for the end user whose run it continues."""
    _, is_end_users, name = run.user_id.partition("/")
    return replace(caller, end_user=unquote(name)) if is_end_users else caller

"""Errors of API keys, named as clients read them."""

from servicekit.errors import Forbidden, NotFound, Unprocessable


class ApiKeyNotFound(NotFound):
    """The tenant has no such key, or it was revoked."""

    default_detail = "API key not found."


class ScopeBeyondOwnRights(Forbidden):
    """A key cannot have scopes that its creator does not have."""

    default_detail = "An API key cannot have scopes that you do not have."


class InvalidExpiry(Unprocessable):
    """The expiry is in the past."""

    default_detail = "The expiry must be in the future."

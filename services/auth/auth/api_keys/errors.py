"""What can go wrong with API keys."""

from servicekit.errors import Forbidden, NotFound, Unprocessable


class ApiKeyNotFound(NotFound):
    """The tenant has no such key, or has it no longer."""

    default_detail = "API key not found."


class ScopeBeyondOwnRights(Forbidden):
    """Nobody gives what they do not have."""

    default_detail = "An API key cannot have scopes that you do not have."


class InvalidExpiry(Unprocessable):
    """The key would never work."""

    default_detail = "The expiry must be in the future."

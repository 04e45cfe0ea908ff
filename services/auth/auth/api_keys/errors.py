"""What can go wrong with API keys."""

from servicekit.errors import Forbidden, NotFound, Unprocessable


class ApiKeyNotFound(NotFound):
    """The tenant has no such key, or has it no longer."""

    default_detail = "There is no such API key."


class ScopeBeyondOwnRights(Forbidden):
    """Nobody gives what they do not have."""

    default_detail = "A key can have no scope that you do not have yourself."


class InvalidExpiry(Unprocessable):
    """The key would never work."""

    default_detail = "A key expires in the future, or never."

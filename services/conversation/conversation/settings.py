"""What conversation is told from outside."""

from servicekit.settings import ServiceSettings


class Settings(ServiceSettings):
    """The variables that every service has; this one needs no others."""

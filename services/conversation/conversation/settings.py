"""What conversation is told from outside."""

from servicekit.settings import ServiceSettings


class Settings(ServiceSettings):
    """The variables that every service has; this one needs no others."""

    required_in_production = frozenset({"service_client_secret"})

"""A client of Acme: credentials that renew themselves, runs as typed events, streams that resume."""

from acme_client.client import AcmeClient
from acme_client.credentials import AccessToken, ClientCredentials, Credentials, Password
from acme_client.errors import ApiError
from acme_client.events import RunEvent

__all__ = [
    "AccessToken",
    "AcmeClient",
    "ApiError",
    "ClientCredentials",
    "Credentials",
    "Password",
    "RunEvent",
]

"""The same client for programs without an event loop; threads share it, and its credentials."""

from acme_client.synchronous.client import AcmeClient
from acme_client.synchronous.credentials import AccessToken, ClientCredentials, Credentials, Password

__all__ = ["AccessToken", "AcmeClient", "ClientCredentials", "Credentials", "Password"]

"""What is wrong with what the command was given."""

import httpx
from acme_client import ApiError


class InvalidInput(Exception):
    """A file, an option or an address cannot be used; the text says what to do."""


# What a gateway that cannot be used raises.
UNUSABLE = (ApiError, httpx.TransportError, httpx.InvalidURL)


def unusable(url: str, error: Exception) -> InvalidInput:
    """Return why a gateway cannot be used."""
    if isinstance(error, ApiError):
        return InvalidInput(f"{url}: {error}")
    reason = str(error) or "no answer in time"
    return InvalidInput(f"{url}: {reason.rstrip('.')}. Check --url, and that Acme runs there.")

"""Keyed digests (HMAC-SHA256, RFC 2104): how auth keeps what it must recognise and never give back."""

import hmac

from pydantic import SecretStr


def keyed_hash(key: SecretStr, purpose: str, *parts: str | bytes) -> bytes:
    """Digest the parts under a key; `purpose` keeps what one use of the key gives from fitting another."""
    mac = hmac.new(key.get_secret_value().encode(), digestmod="sha256")
    for part in (purpose, *parts):
        data = part.encode() if isinstance(part, str) else part
        # With its length, so that no two lists of parts read the same.
        mac.update(len(data).to_bytes(4, "big") + data)
    return mac.digest()

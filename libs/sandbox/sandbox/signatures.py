"""Signatures of thoughts: each provider knows its own again, and refuses others and changed ones."""

import base64
import hashlib


def sign(provider: str, text: str) -> str:
    """Return the signature of what a provider's model thought."""
    digest = hashlib.sha256(f"{provider}\n{text}".encode()).digest()
    return base64.b64encode(provider.encode() + b":" + digest).decode()


def is_signed(provider: str, text: str, signature: str) -> bool:
    """Return whether a signature is a provider's, of this text."""
    return signature == sign(provider, text)

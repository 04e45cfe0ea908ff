"""Encrypts secrets: those inside event data (the token of a reset link), and those that tables store.

AES-256-GCM (NIST SP 800-38D) with random nonces: one key is good for 2^32 texts.
"""

import base64
import contextlib
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from servicekit.settings import RotatingSecret

PREFIX = "s1."
KEY_BYTES = 32
NONCE_BYTES = 12


class DecryptionFailed(ValueError):
    """A ciphertext was changed, belongs to another context, or was encrypted with another key."""


class InvalidEncryptionKey(ValueError):
    """An encryption key is not 32 bytes in URL-safe base64."""


def encrypt(key: SecretStr, text: str, *, context: str) -> str:
    """Encrypt text for holders of the key; it opens with the same `context` (`auth.reset:<user>`) only."""
    nonce = os.urandom(NONCE_BYTES)
    sealed = _cipher(key).encrypt(nonce, text.encode(), _bound_to(context))
    return PREFIX + base64.urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()


def decrypt(key: SecretStr, sealed: str, *, context: str) -> str:
    """Decrypt what `encrypt` returned for the same key and context; raises DecryptionFailed."""
    cipher = _cipher(key)
    version, packed = sealed[: len(PREFIX)], sealed[len(PREFIX) :]
    if version != PREFIX:
        raise DecryptionFailed("not a sealed text")
    try:
        raw = _decode(packed)
        return cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _bound_to(context)).decode()
    except (InvalidTag, ValueError) as error:
        raise DecryptionFailed("the seal is broken") from error


def check_keys(secret: RotatingSecret) -> RotatingSecret:
    """Return an encryption key of the settings; raises InvalidEncryptionKey where one is none."""
    for key in secret.values:
        encrypt(key, "", context="")
    return secret


def decrypt_by_any(keys: Sequence[SecretStr], sealed: str, *, context: str) -> str:
    """Decrypt with whichever of the keys fits, as during a key rotation; raises DecryptionFailed."""
    for key in keys:
        with contextlib.suppress(DecryptionFailed):
            return decrypt(key, sealed, context=context)
    raise DecryptionFailed("none of the keys opens the seal")


def _bound_to(context: str) -> bytes:
    # The version is under the seal too: a text cannot be passed off as one of a later format.
    return f"{PREFIX}{context}".encode()


def _cipher(key: SecretStr) -> AESGCM:
    try:
        raw = _decode(key.get_secret_value())
    except ValueError as error:
        raise InvalidEncryptionKey("a sealing key is URL-safe base64") from error
    if len(raw) != KEY_BYTES:
        raise InvalidEncryptionKey(f"a sealing key has {KEY_BYTES} bytes")
    return AESGCM(raw)


def _decode(packed: str) -> bytes:
    plain = packed.rstrip("=")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)

"""The signing keys as a JSON document, the private part of each sealed (AES-GCM) and bound to its key."""

import json
from collections.abc import Sequence

from pydantic import JsonValue, SecretStr
from servicekit.auth import jose
from servicekit.encryption import PREFIX as SEALED
from servicekit.encryption import decrypt_by_any, encrypt

from auth.signing.key_ring import KeyRing, SigningKey

VERSION = 1


class InvalidKeyDocument(Exception):
    """The stored document is not a valid key ring; the message does not quote it."""


def loads(text: bytes, sealing: Sequence[SecretStr], *, sealed_only: bool = False) -> KeyRing:
    """Parse a key ring, unsealed by whichever key fits; raises InvalidKeyDocument."""
    try:
        document = jose.parse_object(text)
        entries = document.get("keys")
        if document.get("version") != VERSION or not isinstance(entries, list):
            raise ValueError("not a document of signing keys")
        keys = [entry for entry in entries if isinstance(entry, dict)]
        if sealed_only and not all(is_encrypted(entry) for entry in keys):
            raise ValueError("a private part is not sealed")
        return KeyRing().with_keys(*(SigningKey.from_json(decrypt_entry(entry, sealing)) for entry in keys))
    except ValueError as error:
        raise InvalidKeyDocument(str(error)) from None


def dumps(ring: KeyRing, sealing: Sequence[SecretStr]) -> str:
    """Serialize a key ring; the first key seals it."""
    entries: list[JsonValue] = [encrypt_entry(key.to_json(), sealing) for key in ring.keys]
    return json.dumps({"version": VERSION, "keys": entries}, indent=1)


def encrypt_entry(entry: dict[str, JsonValue], sealing: Sequence[SecretStr]) -> dict[str, JsonValue]:
    """Seal the private part of an entry, so that a copy of the document is of no use by itself."""
    if not sealing:
        return entry
    return {**entry, "d": encrypt(sealing[0], str(entry["d"]), context=encryption_context(entry))}


def decrypt_entry(entry: dict[str, JsonValue], sealing: Sequence[SecretStr]) -> dict[str, JsonValue]:
    """Unseal the private part of an entry, if it is sealed; raises ValueError."""
    if not is_encrypted(entry):
        return entry
    return {**entry, "d": decrypt_by_any(sealing, str(entry["d"]), context=encryption_context(entry))}


def is_encrypted(entry: dict[str, JsonValue]) -> bool:
    """Return whether the private part of an entry is sealed."""
    return str(entry.get("d")).startswith(SEALED)


def encryption_context(entry: dict[str, JsonValue]) -> str:
    """Return what binds a private part to the key that it is of."""
    return f"auth.signing-key:{entry.get('kid')}"

"""The file of the signing keys: readable by us alone, replaced whole, changed by one process at a time."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import JsonValue, SecretStr
from servicekit import jose
from servicekit.sealing import PREFIX as SEALED
from servicekit.sealing import seal, unseal_by_any

from auth.key_ring import KeyRing, SigningKey

VERSION = 1
Stamp = tuple[int, int, int]


class KeyFileUnreadable(Exception):
    """The file does not hold signing keys; never quotes it."""


def stamp(path: Path) -> Stamp:
    """Give what differs after every change; raises OSError when there is no file."""
    found = path.stat()
    # A replaced file is another file: the inode tells, even of two changes within one tick of the clock.
    return found.st_mtime_ns, found.st_ino, found.st_size


def load(path: Path, sealing: Sequence[SecretStr] = ()) -> KeyRing:
    """Read the keys, unsealed by whichever key fits; raises KeyFileUnreadable, or OSError without a file."""
    try:
        document = jose.parse_object(path.read_bytes())
        entries = document.get("keys")
        if document.get("version") != VERSION or not isinstance(entries, list):
            raise ValueError("not a key file of ours")
        keys = [SigningKey.from_json(opened(entry, sealing)) for entry in entries if isinstance(entry, dict)]
    except ValueError as error:
        raise KeyFileUnreadable(f"{path}: {error}") from None
    return KeyRing().with_keys(*keys)


def save(path: Path, ring: KeyRing, sealing: Sequence[SecretStr] = ()) -> None:
    """Replace the file, whole or not at all, readable by its owner alone; the first key seals it."""
    entries: list[JsonValue] = [closed(key.to_json(), sealing) for key in ring.keys]
    text = json.dumps({"version": VERSION, "keys": entries}, indent=1)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def closed(entry: dict[str, JsonValue], sealing: Sequence[SecretStr]) -> dict[str, JsonValue]:
    """Seal the private part of an entry, so that a copy of the file is of no use by itself."""
    if not sealing:
        return entry
    return {**entry, "d": seal(sealing[0], str(entry["d"]), context=context(entry))}


def opened(entry: dict[str, JsonValue], sealing: Sequence[SecretStr]) -> dict[str, JsonValue]:
    """Unseal the private part of an entry, if it is sealed; raises ValueError."""
    private = str(entry.get("d"))
    if not private.startswith(SEALED):
        return entry
    return {**entry, "d": unseal_by_any(sealing, private, context=context(entry))}


def context(entry: dict[str, JsonValue]) -> str:
    """Bind a private part to the key that it is of."""
    return f"auth.signing-key:{entry.get('kid')}"


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep other processes from changing the file meanwhile; makes its folder, open to us alone."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)

"""The file of the signing keys: readable by us alone, replaced whole, changed by one process at a time."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servicekit import jose

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


def load(path: Path) -> KeyRing:
    """Read the keys; raises KeyFileUnreadable, or OSError when there is no file."""
    try:
        document = jose.parse_object(path.read_bytes())
        entries = document.get("keys")
        if document.get("version") != VERSION or not isinstance(entries, list):
            raise ValueError("not a key file of ours")
        keys = [SigningKey.from_json(entry) for entry in entries if isinstance(entry, dict)]
    except ValueError as error:
        raise KeyFileUnreadable(f"{path}: {error}") from None
    return KeyRing().with_keys(*keys)


def save(path: Path, ring: KeyRing) -> None:
    """Replace the file, whole or not at all, readable by its owner alone."""
    text = json.dumps({"version": VERSION, "keys": [key.to_json() for key in ring.keys]}, indent=1)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


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

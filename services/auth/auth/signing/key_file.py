"""The signing keys in a file: private to its owner, replaced atomically, changed by one process at a time."""

import asyncio
import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from auth.signing.key_document import InvalidKeyDocument, dumps, loads
from auth.signing.key_ring import KeyRing
from auth.signing.key_store import Change, NoKeysStored, Stored

Stamp = tuple[int, int, int]


class KeyFile:
    """A file on storage that all replicas share."""

    def __init__(self, path: Path, sealing: Sequence[SecretStr] = ()) -> None:
        self._path = path
        self._sealing = sealing

    async def read(self, cached: Stored | None = None) -> Stored:
        """Return what the file holds, or `cached` while it is the same file."""
        return await asyncio.to_thread(self._read, cached)

    async def change(self, change: Change) -> KeyRing:
        """Replace the file while no other process does."""
        return await asyncio.to_thread(self._change, change)

    async def aclose(self) -> None:
        """Do nothing: no file is held open."""

    def _read(self, cached: Stored | None) -> Stored:
        try:
            version = stamp(self._path)
        except FileNotFoundError:
            raise NoKeysStored from None
        if cached and cached.version == version:
            return cached
        # The stamp is older than what is read, never newer: a change in between is seen at the next look.
        return Stored(version, load(self._path, self._sealing))

    def _change(self, change: Change) -> KeyRing:
        with locked(self._path):
            ring = load(self._path, self._sealing) if self._path.exists() else None
            changed = change(ring)
            if changed != ring:
                save(self._path, changed, self._sealing)
        return changed


def stamp(path: Path) -> Stamp:
    """Return what differs after every change; raises OSError when there is no file."""
    stat = path.stat()
    # A replaced file is another file: the inode tells, even of two changes within one tick of the clock.
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


def load(path: Path, sealing: Sequence[SecretStr] = ()) -> KeyRing:
    """Read the keys, unsealed by whichever key fits; raises InvalidKeyDocument, or OSError without a file."""
    try:
        return loads(path.read_bytes(), sealing)
    except InvalidKeyDocument as error:
        raise InvalidKeyDocument(f"{path}: {error}") from None


def save(path: Path, ring: KeyRing, sealing: Sequence[SecretStr] = ()) -> None:
    """Replace the file, whole or not at all, readable by its owner alone; the first key seals it."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(dumps(ring, sealing))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock the file against other processes; create its folder, readable by us alone."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)

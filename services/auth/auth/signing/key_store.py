"""Where the signing keys are stored: what a file and a table have in common."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

from auth.signing.key_ring import KeyRing

# Gets None when no keys were ever stored, which is not the same as a ring without keys.
Change = Callable[[KeyRing | None], KeyRing]


class NoKeysStored(Exception):
    """No keys were ever stored."""


@dataclass(frozen=True)
class Stored:
    """A key ring, and which state of the store it was read from."""

    version: Hashable
    ring: KeyRing


class KeyStore(Protocol):
    """A store that all replicas share."""

    async def read(self, cached: Stored | None = None) -> Stored:
        """Return what is stored, or `cached` while it has not changed.

        Raises NoKeysStored, InvalidKeyDocument, or whatever the store raises when it cannot be reached.
        """

    async def change(self, change: Change) -> KeyRing:
        """Replace the ring while no other process does; `change` may block, and runs in a thread."""

    async def aclose(self) -> None:
        """Release what the store holds open."""

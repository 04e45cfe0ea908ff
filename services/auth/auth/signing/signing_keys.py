"""The keys that tokens are signed with, as a running service has them: from a store that all replicas share.

Of a key that Vault keeps, the store says when it signs and where it is: see docs/decisions/0012.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from servicekit.auth.tokens import InvalidToken, VerificationKey
from servicekit.database import Database
from sqlalchemy.exc import SQLAlchemyError

from auth.errors import SigningKeysUnavailable
from auth.settings import Overlap, Settings
from auth.signing.key_document import KeysUnreadable
from auth.signing.key_file import KeyFile
from auth.signing.key_ring import KeyRing, Make, NoActiveKey, SigningKey
from auth.signing.key_store import KeyStore, NothingStored, Stored
from auth.signing.key_table import KeyTable
from auth.signing.vault_keys import KeyNotMade, TransitKeys

logger = logging.getLogger(__name__)

# How old what we know of the store may be; a rotated key takes effect everywhere within this time.
LOOK_SECONDS = 0.5
# Nobody goes on with what was so long ago, as after a quiet night, before it has been looked at again.
OLD_SECONDS = 5.0
UNREADABLE = (NothingStored, KeysUnreadable, OSError, SQLAlchemyError)


@dataclass(frozen=True)
class Making:
    """How new keys come to be: the first one ever, when a service starts, and each that an operator wants."""

    first: Make = Ed25519PrivateKey.generate
    another: Make = Ed25519PrivateKey.generate

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Build from the settings."""
        if settings.auth_signer == "file":
            return cls()
        transit = TransitKeys.of(settings)
        # A service may only read in Vault: its first key is the one that an operator has made.
        return cls(transit.newest, transit.another)


def store_of(settings: Settings) -> KeyStore:
    """Return the file that is named, and otherwise the database."""
    if settings.auth_key_storage_path:
        return KeyFile(settings.auth_key_storage_path, settings.session_keys)
    # A connection of its own: who waits for a key to sign with may hold one of the service's.
    database = Database.from_settings(settings, "auth-keys", pool_size=1)
    return KeyTable(database, settings.session_keys)


class SigningKeys:
    """Auth's own key ring; a KeySource, so that auth verifies tokens without asking itself over HTTP."""

    def __init__(
        self,
        store: KeyStore,
        overlap: Overlap,
        clock: Callable[[], float] = time.time,
        *,
        making: Making | None = None,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._making = making or Making()
        self._ticks = ticks
        self._overlap = overlap
        self._clock = clock
        self._stored: Stored | None = None
        # When a look at the store was last begun, and when one was last over.
        self._looked = self._seen = ticks() - OLD_SECONDS
        self._looking = asyncio.Lock()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Build from the settings."""
        return cls(store_of(settings), settings.overlap, making=Making.of(settings))

    async def start(self) -> None:
        """See to the first key if nothing is stored yet; raises KeyNotMade when there can be none."""
        await self._store.change(self._begun)
        await self._ring()

    async def aclose(self) -> None:
        """Release what the store holds open."""
        await self._store.aclose()

    async def current(self) -> SigningKey:
        """Give the key to sign with; raises SigningKeysUnavailable."""
        try:
            return (await self._ring()).active(self._clock())
        except NoActiveKey:
            raise SigningKeysUnavailable from None

    async def get(self, kid: str) -> VerificationKey:
        """Give the public half of a published key; raises InvalidToken("unknown_key")."""
        # A second look, past the interval: the key may have come a moment ago.
        for fresh in (False, True):
            ring = await self._ring(fresh=fresh)
            key = ring.find(kid)
            if key and key in ring.published(self._clock(), self._overlap):
                return VerificationKey(kid, key.private.public_key())
        raise InvalidToken("unknown_key")

    async def key_set(self) -> bytes:
        """Write the public key set (RFC 7517): the same bytes for the same keys, in every replica."""
        # Never what was so half a second ago: who asks may have been told a moment ago to ask.
        published = (await self._ring(fresh=True)).published(self._clock(), self._overlap)
        return json.dumps(
            {"keys": [key.jwk for key in published]}, separators=(",", ":"), sort_keys=True
        ).encode()

    async def read(self) -> KeyRing:
        """Return what is stored now, if anything is; raises KeysUnreadable."""
        try:
            return (await self._store.read()).ring
        except NothingStored:
            return KeyRing()

    async def rotate(self, *, at_once: bool = False) -> SigningKey:
        """Add a key that signs after the publish lead, or at once; gives it.

        Raises RotationPending or KeyNotMade.
        """
        another = self._making.another
        changed = await self._store.change(lambda ring: self._rotated(ring, another, at_once=at_once))
        return changed.keys[-1]

    async def revoke(self, kid: str) -> None:
        """Take a key away with all the tokens it signed, and have another sign; raises KeyUnknown.

        When that cannot be made, the key is gone all the same, and KeyNotMade is raised.
        """
        try:
            await self._store.change(lambda ring: self._without(ring, kid, self._making.another))
        except KeyNotMade:
            await self._store.change(lambda ring: self._without(ring, kid, None))
            raise

    def _begun(self, ring: KeyRing | None) -> KeyRing:
        # A ring without keys is what a revocation may leave: what it took away must not come back.
        return self._rotated(ring, self._making.first) if ring is None else ring

    def _without(self, ring: KeyRing | None, kid: str, make: Make | None) -> KeyRing:
        return (ring or KeyRing()).without(kid, self._clock(), self._overlap, make)

    def _rotated(self, ring: KeyRing | None, make: Make, *, at_once: bool = False) -> KeyRing:
        return (ring or KeyRing()).rotated(self._clock(), self._overlap, make, at_once=at_once)

    async def _ring(self, *, fresh: bool = False) -> KeyRing:
        """Return what is stored, looked at seldom; when it cannot be read, what was read last."""
        now = self._ticks()
        if fresh or not self._stored or now - self._looked >= LOOK_SECONDS or now - self._seen >= OLD_SECONDS:
            async with self._looking:
                # However many want to know, a look that began after they did answers them all.
                if self._looked <= now:
                    await self._look()
        if not self._stored:
            raise SigningKeysUnavailable
        return self._stored.ring

    async def _look(self) -> None:
        # Before the look: others go on with what is known instead of looking too, unless it is old.
        self._looked = self._ticks()
        try:
            self._stored = await self._store.read(self._stored)
        except UNREADABLE as error:
            logger.error("signing keys cannot be read", extra={"reason": type(error).__name__})
        self._seen = self._ticks()

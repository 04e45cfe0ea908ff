"""The signing keys of a running service, read from a store that all replicas share.

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

from auth.configuration.signing import Overlap
from auth.errors import SigningKeysUnavailable
from auth.settings import Settings
from auth.signing.key_document import InvalidKeyDocument
from auth.signing.key_file import KeyFile
from auth.signing.key_ring import KeyCreationFailed, KeyRing, MakePrivatePart, NoActiveKey, SigningKey
from auth.signing.key_store import KeyStore, NoKeysStored, Stored
from auth.signing.key_table import KeyTable

logger = logging.getLogger(__name__)

# How old what we know of the store may be; a rotated key takes effect everywhere within this time.
RELOAD_SECONDS = 0.5
# Nobody goes on with what was so long ago, as after a quiet night, before it has been looked at again.
STALE_SECONDS = 5.0
UNREADABLE = (NoKeysStored, InvalidKeyDocument, OSError, SQLAlchemyError)


@dataclass(frozen=True)
class KeyFactory:
    """Creates keys: the first one when a service starts, and each of a rotation."""

    first: MakePrivatePart = Ed25519PrivateKey.generate
    another: MakePrivatePart = Ed25519PrivateKey.generate

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Build from the settings."""
        if settings.auth_signer == "file":
            return cls()
        from auth.signing.vault_keys import TransitKeys  # noqa: PLC0415  # seldom used: see docs/CONTRIBUTING.md

        transit = TransitKeys.from_settings(settings)
        # A service may only read in Vault: its first key is the one that an operator has made.
        return cls(transit.latest_version, transit.create_version)


def create_store(settings: Settings) -> KeyStore:
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
        making: KeyFactory | None = None,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._making = making or KeyFactory()
        self._ticks = ticks
        self._overlap = overlap
        self._clock = clock
        self._stored: Stored | None = None
        # When a look at the store was last begun, and when one was last over.
        self._looked = self._seen = ticks() - STALE_SECONDS
        self._looking = asyncio.Lock()

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Build from the settings."""
        return cls(create_store(settings), settings.overlap, making=KeyFactory.from_settings(settings))

    async def start(self) -> None:
        """Create the first key if none is stored; raises KeyCreationFailed."""
        await self._store.change(self._bootstrap)
        await self._ring()

    async def aclose(self) -> None:
        """Release what the store holds open."""
        await self._store.aclose()

    async def current(self) -> SigningKey:
        """Return the key to sign with; raises SigningKeysUnavailable."""
        try:
            return (await self._ring()).active(self._clock())
        except NoActiveKey:
            raise SigningKeysUnavailable from None

    async def get(self, kid: str) -> VerificationKey:
        """Return the public half of a published key; raises InvalidToken("unknown_key")."""
        # A second look, past the interval: the key may have come a moment ago.
        for fresh in (False, True):
            ring = await self._ring(fresh=fresh)
            key = ring.find(kid)
            if key and key in ring.published(self._clock(), self._overlap):
                return VerificationKey(kid, key.private.public_key())
        raise InvalidToken("unknown_key")

    async def key_set(self) -> bytes:
        """Serialize the public key set (RFC 7517): the same bytes for the same keys, in every replica."""
        # Never what was so half a second ago: who asks may have been told a moment ago to ask.
        published = (await self._ring(fresh=True)).published(self._clock(), self._overlap)
        return json.dumps(
            {"keys": [key.jwk for key in published]}, separators=(",", ":"), sort_keys=True
        ).encode()

    async def read(self) -> KeyRing:
        """Return the stored keys, if there are any; raises InvalidKeyDocument."""
        try:
            return (await self._store.read()).ring
        except NoKeysStored:
            return KeyRing()

    async def rotate(self, *, at_once: bool = False) -> SigningKey:
        """Add a key that signs after the publish lead, or at once; returns it.

        Raises RotationPending or KeyCreationFailed.
        """
        another = self._making.another
        changed = await self._store.change(lambda ring: self._rotated(ring, another, at_once=at_once))
        return changed.keys[-1]

    async def revoke(self, kid: str) -> None:
        """Revoke a key with all the tokens it signed, and let another sign; raises KeyNotFound.

        When that cannot be made, the key is gone all the same, and KeyCreationFailed is raised.
        """
        try:
            await self._store.change(lambda ring: self._without(ring, kid, self._making.another))
        except KeyCreationFailed:
            await self._store.change(lambda ring: self._without(ring, kid, None))
            raise

    def _bootstrap(self, ring: KeyRing | None) -> KeyRing:
        # A ring without keys is what a revocation may leave: what it took away must not come back.
        return self._rotated(ring, self._making.first) if ring is None else ring

    def _without(self, ring: KeyRing | None, kid: str, make: MakePrivatePart | None) -> KeyRing:
        return (ring or KeyRing()).revoke(kid, self._clock(), self._overlap, make)

    def _rotated(self, ring: KeyRing | None, make: MakePrivatePart, *, at_once: bool = False) -> KeyRing:
        return (ring or KeyRing()).rotate(self._clock(), self._overlap, make, at_once=at_once)

    async def _ring(self, *, fresh: bool = False) -> KeyRing:
        """Return the stored keys, cached; when they cannot be read, the last ones."""
        now = self._ticks()
        if (
            fresh
            or not self._stored
            or now - self._looked >= RELOAD_SECONDS
            or now - self._seen >= STALE_SECONDS
        ):
            async with self._looking:
                # However many want to know, a look that began after they did answers them all.
                if self._looked <= now:
                    await self._reload()
        if not self._stored:
            raise SigningKeysUnavailable
        return self._stored.ring

    async def _reload(self) -> None:
        # Before the look: others go on with what is known instead of looking too, unless it is old.
        self._looked = self._ticks()
        try:
            self._stored = await self._store.read(self._stored)
        except UNREADABLE as error:
            logger.error("signing keys cannot be read", extra={"reason": type(error).__name__})
        self._seen = self._ticks()

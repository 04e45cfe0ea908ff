"""The keys that tokens are signed with, as a running service has them: a file that all replicas share.

Of a key that Vault keeps, the file says when it signs and where it is: see docs/decisions/0012.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr
from servicekit.tokens import InvalidToken, VerificationKey

from auth import key_file
from auth.errors import SigningKeysUnavailable
from auth.key_ring import KeyRing, Make, NoActiveKey, Overlap, SigningKey
from auth.settings import Settings
from auth.transit_keys import KeyNotMade, TransitKeys

logger = logging.getLogger(__name__)

# How old what we know of the file may be; a rotated key takes effect everywhere within this time.
LOOK_SECONDS = 0.5
# Nobody goes on with what was so long ago, as after a quiet night, before it has been looked at again.
OLD_SECONDS = 5.0

Change = Callable[[KeyRing], KeyRing]


@dataclass(frozen=True)
class Held:
    """What was read, and of which state of the file."""

    stamp: key_file.Stamp
    ring: KeyRing


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


class SigningKeys:
    """Auth's own key ring; a KeySource, so that auth verifies tokens without asking itself over HTTP."""

    def __init__(  # noqa: PLR0913, PLR0917  # where the keys are, how they live, and two clocks
        self,
        path: Path,
        overlap: Overlap,
        clock: Callable[[], float] = time.time,
        sealing: Sequence[SecretStr] = (),
        making: Making | None = None,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sealing = sealing
        self._making = making or Making()
        self._ticks = ticks
        self._path = path
        self._overlap = overlap
        self._clock = clock
        self._held: Held | None = None
        # When a look at the file was last begun, and when one was last over.
        self._looked = self._seen = ticks() - OLD_SECONDS

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Build from the settings."""
        making = Making.of(settings)
        return cls(
            settings.auth_key_storage_path, settings.overlap, sealing=settings.session_keys, making=making
        )

    async def start(self) -> None:
        """See to the first key if there is no file yet; raises KeyNotMade when there can be none."""
        await asyncio.to_thread(self.change, self._begun)
        await self._ring()

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

    def read(self) -> KeyRing:
        """Give what the file holds now, if there is one; blocks on the disk. Raises KeyFileUnreadable."""
        return key_file.load(self._path, self._sealing) if self._path.exists() else KeyRing()

    def change(self, change: Change) -> KeyRing:
        """Change the file, while no other process does; blocks on the disk."""
        with key_file.held(self._path):
            ring = self.read()
            changed = change(ring)
            if changed != ring:
                key_file.save(self._path, changed, self._sealing)
        return changed

    def rotate(self, *, at_once: bool = False) -> SigningKey:
        """Add a key that signs after the publish lead, or at once; gives it.

        Raises RotationPending or KeyNotMade.
        """
        another = self._making.another
        return self.change(lambda ring: self._rotated(ring, another, at_once=at_once)).keys[-1]

    def revoke(self, kid: str) -> None:
        """Take a key away with all the tokens it signed, and have another sign; raises KeyUnknown.

        When that cannot be made, the key is gone all the same, and KeyNotMade is raised.
        """
        try:
            self.change(lambda ring: self._without(ring, kid, self._making.another))
        except KeyNotMade:
            self.change(lambda ring: self._without(ring, kid, None))
            raise

    def _begun(self, ring: KeyRing) -> KeyRing:
        # A file without keys is what a revocation may leave: what it took away must not come back.
        return ring if self._path.exists() else self._rotated(ring, self._making.first)

    def _without(self, ring: KeyRing, kid: str, make: Make | None) -> KeyRing:
        return ring.without(kid, self._clock(), self._overlap, make)

    def _rotated(self, ring: KeyRing, make: Make, *, at_once: bool = False) -> KeyRing:
        return ring.rotated(self._clock(), self._overlap, make, at_once=at_once)

    async def _ring(self, *, fresh: bool = False) -> KeyRing:
        """Give what the file holds, looked at seldom and in a thread; when it is unreadable, what it held."""
        now = self._ticks()
        if fresh or not self._held or now - self._looked >= LOOK_SECONDS or now - self._seen >= OLD_SECONDS:
            # Before the look: others go on with what is held instead of looking too, unless it is old.
            self._looked = now
            try:
                self._held = await asyncio.to_thread(self._look)
            except (OSError, key_file.KeyFileUnreadable) as error:
                logger.error("signing keys cannot be read", extra={"reason": type(error).__name__})
            self._seen = self._ticks()
        if not self._held:
            raise SigningKeysUnavailable
        return self._held.ring

    def _look(self) -> Held:
        stamp = key_file.stamp(self._path)
        if self._held and self._held.stamp == stamp:
            return self._held
        # The stamp is older than what is read, never newer: a change in between is seen at the next look.
        return Held(stamp, key_file.load(self._path, self._sealing))

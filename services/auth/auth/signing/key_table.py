"""The signing keys in auth's own database: one row, which all replicas read, and one at a time replaces."""

import asyncio
from collections.abc import Sequence

from pydantic import SecretStr
from servicekit.database import Database
from sqlalchemy import text

from auth.models import SigningKeyRing
from auth.signing.key_document import dumps, loads
from auth.signing.key_ring import KeyRing
from auth.signing.key_store import Change, NoKeysStored, Stored

# A database that hangs must not keep the keys that are known already from being used.
READ_SECONDS = 2
ONLY = 1


class KeyTable:
    """A row whose private parts are sealed: whoever can write to the table still cannot add a key."""

    def __init__(self, database: Database, sealing: Sequence[SecretStr]) -> None:
        self._database = database
        self._sealing = sealing

    async def read(self, cached: Stored | None = None) -> Stored:
        """Return what the row holds, or `cached` while it is the same version."""
        async with asyncio.timeout(READ_SECONDS), self._database.begin() as session:
            row = await session.get(SigningKeyRing, ONLY)
        if row is None:
            raise NoKeysStored
        if cached and cached.version == row.version:
            return cached
        return Stored(row.version, self._ring(row))

    async def change(self, change: Change) -> KeyRing:
        """Replace the row while no other process does; reading goes on."""
        async with self._database.begin() as session:
            # The table, not the row: the first time there is no row to lock.
            await session.execute(text(f"lock table {SigningKeyRing.__tablename__} in exclusive mode"))
            row = await session.get(SigningKeyRing, ONLY)
            ring = self._ring(row) if row else None
            changed = await asyncio.to_thread(change, ring)
            if changed != ring:
                row = row or SigningKeyRing(id=ONLY, version=0)
                row.version += 1
                row.document = dumps(changed, self._sealing)
                session.add(row)
        return changed

    async def aclose(self) -> None:
        """Close the connection."""
        await self._database.close()

    def _ring(self, row: SigningKeyRing) -> KeyRing:
        return loads(row.document.encode(), self._sealing, sealed_only=True)

"""Encrypts secrets anew that an old key has encrypted, so that this key can be removed."""

from collections.abc import Sequence

from pydantic import SecretStr
from servicekit.database import Database
from servicekit.encryption import decrypt_by_any, encrypt
from servicekit.workers.base import LoopWorker
from sqlalchemy import select

from chat_agent.tenant_secrets.store import context_of, id_of
from chat_agent.tenant_secrets.tables import StoredSecret

SECONDS = 300.0
BATCH_SIZE = 100


class SecretReencryption(LoopWorker):
    """Encrypts with the newest of the keys what another has encrypted; a Worker."""

    def __init__(self, database: Database, keys: Sequence[SecretStr]) -> None:
        super().__init__("secret-reencryption")
        self._database = database
        self._keys = keys

    async def begin(self) -> None:
        """Verify that the database is reachable."""
        await self._database.ping()

    async def step(self) -> float:
        """Encrypt a batch anew."""
        return 0 if await self.reencrypt() else SECONDS

    async def reencrypt(self) -> int:
        """Encrypt a batch of secrets anew, and return how many."""
        newest = self._keys[0]
        old = select(StoredSecret).where(StoredSecret.key_id.in_([id_of(key) for key in self._keys[1:]]))
        count = 0
        async with self._database.begin() as session:
            batch = await session.scalars(old.limit(BATCH_SIZE).with_for_update(skip_locked=True))
            for row in batch:
                context = context_of(row.tenant_id, row.kind, row.name)
                row.ciphertext = encrypt(
                    newest, decrypt_by_any(self._keys, row.ciphertext, context=context), context=context
                )
                row.key_id = id_of(newest)
                count += 1
        return count

"""Reads the secrets of a tenant that its tools name, when a call is made."""

from uuid import UUID

from servicekit.database import Database

from chat_agent.clients.retry import retry_database
from chat_agent.settings import Settings
from chat_agent.tenant_secrets import store


async def read_secret(database: Database, settings: Settings, tenant_id: UUID, name: str) -> str:
    """Return the value of a secret; raises SecretNotFound, and DecryptionFailed where its key is gone."""

    async def read() -> str:
        async with database.begin() as session:
            return (await store.read(session, settings.secret_keys, tenant_id, name)).get_secret_value()

    return await retry_database(read)

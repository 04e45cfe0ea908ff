"""Reads the secrets of a tenant that its tools name, when a call is made."""

from uuid import UUID

from servicekit.database import Database

from chat_agent.clients.retry import retry_transaction
from chat_agent.settings import Settings
from chat_agent.tenant_secrets import store


async def read_secret(database: Database, settings: Settings, tenant_id: UUID, name: str) -> str:
    """Return the value of a secret; raises SecretNotFound, and DecryptionFailed where its key is gone."""
    secret = await retry_transaction(database, store.read, settings.secret_keys, tenant_id, name)
    return secret.get_secret_value()

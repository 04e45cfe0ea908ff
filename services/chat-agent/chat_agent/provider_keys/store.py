"""Stores keys of providers among the tenant's secrets, each together with its base URL."""

from collections.abc import Sequence
from uuid import UUID

from pydantic import SecretStr
from servicekit.encryption import DecryptionFailed, decrypt_by_any
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.provider_keys.errors import ProviderKeyNotFound, ProviderKeyRefused
from chat_agent.provider_keys.keys import OwnKey, OwnKeys, Provider
from chat_agent.provider_keys.schemas import NewProviderKey, ProviderKey
from chat_agent.tenant_secrets import store
from chat_agent.tenant_secrets.store import Keys
from chat_agent.tenant_secrets.tables import PROVIDER_KEY as KIND
from chat_agent.tenant_secrets.tables import StoredSecret


async def write(  # noqa: PLR0913, PLR0917  # what a row is made of
    session: AsyncSession,
    keys: Keys,
    tenant_id: UUID,
    provider: Provider,
    new: NewProviderKey,
    updated_by: str,
) -> ProviderKey:
    """Store a key, in place of the one before; raises TenantSecretsDisabled."""
    # Neither has a space.
    value = SecretStr(f"{new.base_url or ''} {new.key.get_secret_value()}")
    row = await store.write(session, keys, tenant_id, provider, value, updated_by=updated_by, kind=KIND)
    row.hint = store.hint_of(new.key.get_secret_value())
    return described(row, new.base_url)


async def find(session: AsyncSession, keys: Keys, tenant_id: UUID, provider: Provider) -> ProviderKey:
    """Return what can be read of a key; raises ProviderKeyNotFound."""
    row = await session.get(StoredSecret, (tenant_id, KIND, provider))
    if row is None:
        raise ProviderKeyNotFound
    try:
        return described(row, decrypted(keys, row).base_url)
    except DecryptionFailed:  # the key that has encrypted it is gone; it can be replaced
        return described(row, None)


async def remove(session: AsyncSession, tenant_id: UUID, provider: Provider) -> None:
    """Delete a key; raises ProviderKeyNotFound."""
    if not await store.remove(session, tenant_id, provider, kind=KIND):
        raise ProviderKeyNotFound


async def read_all(session: AsyncSession, keys: Keys, tenant_id: UUID) -> OwnKeys:
    """Return the keys of a tenant by provider; raises ProviderKeyRefused where one cannot be decrypted."""
    rows = await store.find(session, tenant_id, kind=KIND)
    try:
        return {row.name: decrypted(keys, row) for row in rows}
    except DecryptionFailed as error:
        raise ProviderKeyRefused(
            "The tenant's own key of a provider cannot be decrypted. An owner or admin has to store it again."
        ) from error


async def tenants(session: AsyncSession) -> Sequence[UUID]:
    """List the tenants that have keys of their own."""
    return (
        await session.scalars(select(StoredSecret.tenant_id).where(StoredSecret.kind == KIND).distinct())
    ).all()


def decrypted(keys: Keys, row: StoredSecret) -> OwnKey:
    """Decrypt a key; raises DecryptionFailed."""
    context = store.context_of(row.tenant_id, row.kind, row.name)
    base_url, _, key = decrypt_by_any(keys, row.ciphertext, context=context).partition(" ")
    return OwnKey(SecretStr(key), base_url or None)


def described(row: StoredSecret, base_url: str | None) -> ProviderKey:
    """Describe a key."""
    return ProviderKey(
        provider=row.name,
        hint=row.hint,
        base_url=base_url,
        updated_by=row.updated_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )

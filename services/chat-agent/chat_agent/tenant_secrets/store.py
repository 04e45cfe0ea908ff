"""Secrets of tenants: encrypted by the service's key for their row, and read when a call needs one.

They are of a kind: `secret` for those that a tenant names in its tools, others for what the service names.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from pydantic import SecretStr
from servicekit.encryption import decrypt_by_any, encrypt
from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.tenant_secrets.errors import SecretNotFound, TenantSecretsDisabled, TooManySecrets
from chat_agent.tenant_secrets.tables import StoredSecret

SECRET = "secret"  # noqa: S105  # a kind
MAX_SECRETS = 100
# A shorter secret must not lose four of its characters.
MIN_LENGTH_FOR_HINT = 20
# The newest first, as in the settings; empty where the installation has none.
Keys = Sequence[SecretStr]


async def write(  # noqa: PLR0913  # what a row is made of
    session: AsyncSession,
    keys: Keys,
    tenant_id: UUID,
    name: str,
    value: SecretStr,
    *,
    updated_by: str,
    kind: str = SECRET,
) -> StoredSecret:
    """Store a secret, in place of one of the same name; raises TenantSecretsDisabled."""
    key, plain = current(keys), value.get_secret_value()
    values = {
        "ciphertext": encrypt(key, plain, context=context_of(tenant_id, kind, name)),
        "key_id": id_of(key),
        "hint": hint_of(plain),
        "updated_by": updated_by,
        "updated_at": datetime.now(UTC),
    }
    new = insert(StoredSecret).values(tenant_id=tenant_id, kind=kind, name=name, **values)
    upsert = new.on_conflict_do_update(index_elements=["tenant_id", "kind", "name"], set_=values)
    rows = await session.scalars(
        upsert.returning(StoredSecret), execution_options={"populate_existing": True}
    )
    return rows.one()


async def read(
    session: AsyncSession, keys: Keys, tenant_id: UUID, name: str, *, kind: str = SECRET
) -> SecretStr:
    """Decrypt a secret; raises SecretNotFound, and DecryptionFailed where its key is gone."""
    row = await session.get(StoredSecret, (tenant_id, kind, name))
    if row is None:
        raise SecretNotFound(f"This tenant has no secret called {name!r}.")
    return SecretStr(decrypt_by_any(keys, row.ciphertext, context=context_of(tenant_id, kind, name)))


async def find(session: AsyncSession, tenant_id: UUID, *, kind: str = SECRET) -> Sequence[StoredSecret]:
    """List the secrets of a tenant by name."""
    query = select(StoredSecret).where(of_kind(tenant_id, kind)).order_by(StoredSecret.name)
    return (await session.scalars(query.limit(MAX_SECRETS))).all()


async def check_count(session: AsyncSession, tenant_id: UUID, name: str, *, kind: str = SECRET) -> None:
    """Raise TooManySecrets where one more is more than a tenant may have."""
    others = select(func.count()).where(of_kind(tenant_id, kind), StoredSecret.name != name)
    if (await session.scalar(others) or 0) >= MAX_SECRETS:
        raise TooManySecrets


async def remove(session: AsyncSession, tenant_id: UUID, name: str, *, kind: str = SECRET) -> bool:
    """Delete a secret, and return whether there was one."""
    this = delete(StoredSecret).where(of_kind(tenant_id, kind), StoredSecret.name == name)
    return (await session.scalar(this.returning(StoredSecret.name))) is not None


def of_kind(tenant_id: UUID, kind: str) -> ColumnElement[bool]:
    """Return which secrets are of a tenant and a kind."""
    return (StoredSecret.tenant_id == tenant_id) & (StoredSecret.kind == kind)


def current(keys: Keys) -> SecretStr:
    """Return the key that encrypts; raises TenantSecretsDisabled."""
    if not keys:
        raise TenantSecretsDisabled
    return keys[0]


def context_of(tenant_id: UUID, kind: str, name: str) -> str:
    """Return the context of a ciphertext: it cannot be decrypted in another row."""
    return f"chat-agent.{kind}:{tenant_id}:{name}"


def id_of(key: SecretStr) -> str:
    """Return an id of a key that says nothing of it."""
    return hashlib.sha256(key.get_secret_value().encode()).hexdigest()[:16]


def hint_of(value: str) -> str:
    """Return the end of a long secret, by which a person tells one from another."""
    return value[-4:] if len(value) >= MIN_LENGTH_FOR_HINT else ""

"""The table of tenants' secrets."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from chat_agent.models import Base

# A tenant's own key of a provider; the name is the provider's.
PROVIDER_KEY = "provider_key"


class StoredSecret(Base):
    """A secret of a tenant, encrypted for its row; of a kind, for what it is used."""

    __tablename__ = "tenant_secrets"
    __table_args__ = (
        # To find those that an old key has encrypted.
        Index("ix_tenant_secrets_key_id", "key_id"),
        # To find the tenants that have keys of their own.
        Index(
            "ix_tenant_secrets_provider_keys", "tenant_id", postgresql_where=text(f"kind = '{PROVIDER_KEY}'")
        ),
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    ciphertext: Mapped[str]
    # Of the key that has encrypted it.
    key_id: Mapped[str]
    # The last characters of a long one.
    hint: Mapped[str] = mapped_column(server_default="")
    updated_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

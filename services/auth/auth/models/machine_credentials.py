"""The tables of machines' credentials: API keys of tenants, and credentials of service accounts."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from auth.models.base import Base
from auth.models.tenants import Tenant
from auth.models.users import User


class ApiKey(Base):
    """A tenant's key, known by the digest of its secret.

    `created_by` was given the secret, by making or rotating the key, which can do no more than they may now.
    After a rotation the secret before, of `previous_created_by`, works until `previous_expires_at`.
    """

    __tablename__ = "api_keys"
    __table_args__ = (Index("ix_api_keys_tenant", "tenant_id", "created_at", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey(Tenant.id, ondelete="CASCADE"))
    created_by: Mapped[UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), index=True)
    name: Mapped[str]
    digest: Mapped[bytes]
    previous_digest: Mapped[bytes | None]
    previous_created_by: Mapped[UUID | None] = mapped_column(
        ForeignKey(User.id, ondelete="SET NULL"), index=True
    )
    previous_expires_at: Mapped[datetime | None]
    scopes: Mapped[list[str]]
    # Where it may come from (CIDR); anywhere when there are none.
    networks: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class ServiceCredential(Base):
    """A credential of a service account: a secret, stored as a digest, or a public key of its own."""

    __tablename__ = "service_credentials"
    __table_args__ = (Index("ix_service_credentials_tenant", "tenant_id", "created_at", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    account: Mapped[str]
    # None where the account is for all tenants.
    tenant_id: Mapped[UUID | None] = mapped_column(ForeignKey(Tenant.id, ondelete="CASCADE"))
    scopes: Mapped[list[str]]
    digest: Mapped[bytes | None]
    public_jwk: Mapped[dict[str, Any] | None]
    # Which version of the Transit key vouched for it.
    key_version: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]

    @property
    def client_id(self) -> str:
        """The client id of the machine, which has a prefix of its own."""
        return f"sa.{self.account}.{self.id.hex}"

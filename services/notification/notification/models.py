"""The tables of notification."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from servicekit.database import metadata
from servicekit.erasure import deleted_users, tenants
from servicekit.events.outbox import inbox
from sqlalchemy import CheckConstraint, Index, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

UNFINISHED = ("queued", "sending")
STATES = (*UNFINISHED, "sent", "failed", "expired", "skipped")


class Base(DeclarativeBase):
    """The registry of this service's tables."""

    metadata = metadata()
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: TIMESTAMP(timezone=True),
        dict[str, Any]: JSONB,
        str: Text,
    }


class Delivery(Base):
    """One email to one recipient, from the event that requests it until the provider has accepted it."""

    __tablename__ = "deliveries"
    __table_args__ = (
        CheckConstraint(f"status in {STATES}", name="status"),
        Index("ix_deliveries_due", "due_at", postgresql_where=text(f"status in {UNFINISHED}")),
        Index("ix_deliveries_user_id", "user_id"),
        Index("ix_deliveries_listing", "tenant_id", "user_id", "created_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    # The event that requested it, so that an event that arrives twice makes one row.
    dedupe_key: Mapped[str] = mapped_column(unique=True)
    # None where the email concerns a user and no tenant.
    tenant_id: Mapped[UUID | None]
    # `user:<id>`, or `mail:<address>` without an account; the token is encrypted for it.
    user_id: Mapped[str]
    template: Mapped[str]
    address: Mapped[str]
    # Values of the template except the token; never a secret.
    payload: Mapped[dict[str, Any]]
    # Encrypted by auth; decrypted only to be sent, and deleted when the delivery is finished.
    sealed_token: Mapped[str | None]
    # The trace of the request that caused the email (W3C Trace Context), which sending continues.
    traceparent: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default="queued")
    # Counts the claims, which fences off a sender whose lease has expired.
    attempts: Mapped[int] = mapped_column(server_default="0")
    # When to try (again). While it is being sent: when the sender's lease expires.
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # From then on it is dropped instead of sent.
    expires_at: Mapped[datetime]
    provider_id: Mapped[str | None]
    last_error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    sent_at: Mapped[datetime | None]


class Notice(Base):
    """An email to a tenant, from billing's event until it is known who gets it."""

    __tablename__ = "notices"

    # The event that is the reason for it, or what it must be sent only once for.
    dedupe_key: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]
    template: Mapped[str]
    payload: Mapped[dict[str, Any]]
    traceparent: Mapped[str | None]
    # Counts the claims, which fences off a worker whose lease has expired.
    attempts: Mapped[int] = mapped_column(server_default="0")
    # When to try (again). While it is being addressed: when the worker's lease expires.
    due_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    # From then on it is dropped instead of sent.
    expires_at: Mapped[datetime]


inbox.to_metadata(Base.metadata)
deleted_users.to_metadata(Base.metadata)
tenants.to_metadata(Base.metadata)

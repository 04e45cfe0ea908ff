"""The tables of billing-webhook."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from servicekit.database import metadata
from servicekit.events import inbox
from sqlalchemy import BigInteger, Identity, Index, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# In the place of who has left: the database lets the ledger's `user_id` become this, and nothing else change.
NOBODY = f"user:{UUID(int=0)}"


class Base(DeclarativeBase):
    """The registry of this service's tables."""

    metadata = metadata()
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: TIMESTAMP(timezone=True),
        int: BigInteger,
        str: Text,
    }


class UsageEntry(Base):
    """What one run used of one model. Written once: a trigger in the database refuses changes.

    But for one: who used it may be forgotten (NOBODY).

    A correction is a further entry. Both unique keys are needed: the same event may come twice, and the
    same run may be told of by two events.
    """

    __tablename__ = "usage_entries"
    __table_args__ = (
        UniqueConstraint("event_id", "model"),
        UniqueConstraint("run_id", "model"),
        Index("ix_usage_entries_period", "tenant_id", "occurred_at"),
        Index("ix_usage_entries_user_id", "user_id"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    event_id: Mapped[UUID]
    run_id: Mapped[UUID]
    tenant_id: Mapped[UUID]
    user_id: Mapped[str]
    conversation_id: Mapped[UUID]
    agent: Mapped[str]
    model: Mapped[str]
    requests: Mapped[int]
    input_tokens: Mapped[int]
    output_tokens: Mapped[int]
    cached_tokens: Mapped[int]
    reasoning_tokens: Mapped[int]
    estimated: Mapped[bool]
    occurred_at: Mapped[datetime]
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.now())


class StripeEvent(Base):
    """An event as Stripe sent it, byte for byte, so that it can be worked through, and again, from here."""

    __tablename__ = "stripe_events"

    id: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]
    # Thin notifications have none: they carry no object whose shape it would tell.
    api_version: Mapped[str | None]
    livemode: Mapped[bool]
    created: Mapped[datetime]
    payload: Mapped[bytes]
    status: Mapped[str] = mapped_column(server_default="received")
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Leaver(Base):
    """Somebody who has left for good; `forgotten_at` says that the ledger names them nowhere."""

    __tablename__ = "leavers"
    __table_args__ = (Index("ix_leavers_open", "user_id", postgresql_where=text("forgotten_at is null")),)

    user_id: Mapped[str] = mapped_column(primary_key=True)
    heard_at: Mapped[datetime] = mapped_column(server_default=func.now())
    forgotten_at: Mapped[datetime | None]


class Tenant(Base):
    """What is known of a tenant's end, as of the newest event; `forgotten_at`: nobody of it is named."""

    __tablename__ = "tenants"
    __table_args__ = (Index("ix_tenants_open", "purge_after", postgresql_where=text("forgotten_at is null")),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int]
    purge_after: Mapped[datetime | None]
    forgotten_at: Mapped[datetime | None]


inbox.to_metadata(Base.metadata)

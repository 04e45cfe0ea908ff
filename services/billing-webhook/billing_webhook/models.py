"""The tables of billing-webhook."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from servicekit.database import metadata
from servicekit.erasure import deleted_users, tenants
from servicekit.events.outbox import inbox
from sqlalchemy import BigInteger, Identity, Index, Text, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The registry of this service's tables."""

    metadata = metadata()
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: TIMESTAMP(timezone=True),
        int: BigInteger,
        str: Text,
    }


class UsageEntry(Base):
    """Usage of one model by one run. A trigger in the database rejects updates, except anonymizing the user.

    A correction is a further entry. Both unique keys are needed: the same event may arrive twice, and two
    events may report the same run.
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
    """An event as Stripe sent it, byte for byte, so that it can be processed again."""

    __tablename__ = "stripe_events"

    id: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]
    # Thin events have none, since they contain no object.
    api_version: Mapped[str | None]
    livemode: Mapped[bool]
    created: Mapped[datetime]
    payload: Mapped[bytes]
    status: Mapped[str] = mapped_column(server_default="received")
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())


inbox.to_metadata(Base.metadata)
deleted_users.to_metadata(Base.metadata)
tenants.to_metadata(Base.metadata)

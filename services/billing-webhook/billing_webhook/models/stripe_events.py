"""Events of Stripe: the inbox, and one dispatch for each event and handler."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, Integer, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from billing_webhook.models.base import Base


class StripeEvent(Base):
    """An event as Stripe sent it, byte for byte, so that it can be processed again."""

    __tablename__ = "stripe_events"

    id: Mapped[str] = mapped_column(primary_key=True)
    # The id of the snapshot event that a thin event is the twin of, else its own.
    dedupe_key: Mapped[str] = mapped_column(unique=True)
    type: Mapped[str]
    # Thin events have none, since they contain no object.
    api_version: Mapped[str | None]
    livemode: Mapped[bool]
    # The connected account or the context that it came from; None is our own account.
    account: Mapped[str | None]
    created: Mapped[datetime]
    # The customer that it is about, where it names one.
    stripe_customer_id: Mapped[str | None] = mapped_column(index=True)
    # None after its retention, or when its tenant is purged.
    payload: Mapped[bytes | None]
    headers: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    # received, ignored_type, ignored_livemode or ignored_account
    status: Mapped[str] = mapped_column(server_default="received")
    received_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


class StripeDispatch(Base):
    """The processing of an event by one handler."""

    __tablename__ = "stripe_dispatches"
    __table_args__ = (
        UniqueConstraint("event_id", "handler"),
        Index(
            "ix_stripe_dispatches_due",
            "next_attempt_at",
            postgresql_where=text("status in ('pending', 'failed', 'unmapped')"),
        ),
        # Two workers never process what concerns one customer at once.
        Index(
            "uq_stripe_dispatches_running", "ordering_key", unique=True, postgresql_where="status = 'running'"
        ),
        Index("ix_stripe_dispatches_status", "status", "created_at"),
        Index("ix_stripe_dispatches_tenant_id", "tenant_id", postgresql_where=text("tenant_id is not null")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    event_id: Mapped[str] = mapped_column(ForeignKey("stripe_events.id", ondelete="CASCADE"))
    event_created: Mapped[datetime]
    handler: Mapped[str]
    # The customer, or the object where no customer is known.
    ordering_key: Mapped[str]
    tenant_id: Mapped[UUID | None]
    # pending, running, completed, failed (to be retried), unmapped (no tenant yet) or dead
    status: Mapped[str] = mapped_column(server_default="pending")
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    # Attempts that found a row of ours missing, which our own transaction may be about to commit.
    waits: Mapped[int] = mapped_column(Integer, server_default="0")
    # None: only an operator starts it again.
    next_attempt_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    lease_token: Mapped[UUID | None]
    leased_until: Mapped[datetime | None]
    last_error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    completed_at: Mapped[datetime | None]
    replayed_at: Mapped[datetime | None]
    replayed_by: Mapped[str | None]
    replay_reason: Mapped[str | None]


class StripeObject(Base):
    """What a handler has last applied of an object of Stripe: nothing older is applied, and nothing twice."""

    __tablename__ = "stripe_objects"

    handler: Mapped[str] = mapped_column(primary_key=True)
    object_id: Mapped[str] = mapped_column(primary_key=True)
    event_created: Mapped[datetime]
    # What the handler compares, as the status of a dispute.
    state: Mapped[str | None]


class StripeCursor(Base):
    """When a job was last begun by any replica, and up to which time it has seen Stripe's objects."""

    __tablename__ = "stripe_cursors"

    name: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[datetime | None]
    started_at: Mapped[datetime]

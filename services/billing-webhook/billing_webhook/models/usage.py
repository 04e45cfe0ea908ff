"""The usage ledger."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Identity, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from billing_webhook.models.base import Base


class ErasedEndUser(Base):
    """The digest of an end user that was erased, by which usage that is reported late is made anonymous."""

    __tablename__ = "erased_end_users"

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    erased_at: Mapped[datetime]


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


class UsageRecord(Base):
    """An entry of the ledger that is billed: a quantity of one feature, written once.

    A trigger rejects updates (except anonymizing the user) and deletions; a correction is a record that
    reverses another.
    """

    __tablename__ = "usage_records"
    __table_args__ = (
        UniqueConstraint("tenant_id", "idempotency_key"),
        UniqueConstraint("reverses_id"),
        Index("ix_usage_records_totals", "tenant_id", "feature_key", "period_start"),
        Index("ix_usage_records_time", "tenant_id", "occurred_at"),
        Index("ix_usage_records_user_id", "user_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]
    feature_key: Mapped[str]
    quantity: Mapped[Decimal]
    idempotency_key: Mapped[str]
    digest: Mapped[bytes]
    occurred_at: Mapped[datetime]
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())
    period_start: Mapped[datetime]
    # It arrived after the grace time of the period in which it occurred, and counts in this one.
    is_adjustment: Mapped[bool]
    reverses_id: Mapped[UUID | None] = mapped_column(ForeignKey("usage_records.id"))
    # api or run.
    source: Mapped[str]
    subscription_id: Mapped[str | None]
    dimensions: Mapped[dict[str, Any]]
    run_id: Mapped[UUID | None]
    user_id: Mapped[str | None]
    api_key_id: Mapped[str | None]
    agent: Mapped[str | None]
    model: Mapped[str | None]


class UsageTotal(Base):
    """The sum of the ledger's records of a feature in a period, and what runs have reserved of it.

    `scope` is `tenant` for the plan's features, `budget:<id>` for a budget, whose unit the feature is then.
    """

    __tablename__ = "usage_totals"
    __table_args__ = (
        Index(
            "ix_usage_totals_unsent_since", "unsent_since", postgresql_where=text("unsent_since is not null")
        ),
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    feature_key: Mapped[str] = mapped_column(primary_key=True)
    scope: Mapped[str] = mapped_column(primary_key=True)
    period_start: Mapped[datetime] = mapped_column(primary_key=True)
    used: Mapped[Decimal]
    reserved: Mapped[Decimal]
    # The highest share of the limit, in percent, that an event has told of.
    notified_percent: Mapped[int] = mapped_column(server_default="0")
    # Of what is used, what meter events have sent to Stripe, and how many these were.
    sent: Mapped[Decimal] = mapped_column(server_default="0")
    meter_event_count: Mapped[int] = mapped_column(server_default="0")
    # Since when there is more to send. The end of the period is known where something was sent.
    unsent_since: Mapped[datetime | None]
    period_end: Mapped[datetime | None]


class MeterEvent(Base):
    """What a counter has grown by since the event before, on its way to Stripe's meter."""

    __tablename__ = "meter_events"
    __table_args__ = (
        Index(
            "ix_meter_events_due",
            "next_attempt_at",
            postgresql_where=text("state in ('pending', 'canceling')"),
        ),
        Index("ix_meter_events_counter", "tenant_id", "feature_key", "period_start"),
    )

    # Tenant, feature, start of the period, and number: by it Stripe counts a repeated event once.
    identifier: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]
    feature_key: Mapped[str]
    period_start: Mapped[datetime]
    event_name: Mapped[str]
    value: Mapped[Decimal]
    timestamp: Mapped[datetime]
    # pending, sent, canceling, canceled, rejected, or unclear: whether it counts is not known.
    state: Mapped[str]
    attempts: Mapped[int] = mapped_column(server_default="0")
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # When Stripe may have received it first; it remembers the identifier for a day.
    first_attempt_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    cancelable_until: Mapped[datetime | None]
    error: Mapped[str | None]

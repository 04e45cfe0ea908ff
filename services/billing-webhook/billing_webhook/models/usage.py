"""The usage ledger."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Identity, Index, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from billing_webhook.models.base import Base


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

"""The tables of the chat-agent."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from servicekit.database import metadata
from servicekit.events import outbox
from sqlalchemy import CheckConstraint, Index, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

RUNNING = "running"
STATES = (RUNNING, "completed", "failed", "cancelled")


class Base(DeclarativeBase):
    """The registry of this service's tables."""

    metadata = metadata()
    type_annotation_map: ClassVar = {
        datetime: TIMESTAMP(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        str: Text,
    }


class Run(Base):
    """One turn of an agent: who asked what, how far it is, and what came of it."""

    __tablename__ = "runs"
    __table_args__ = (
        CheckConstraint(f"status in {STATES}", name="status"),
        CheckConstraint("(status = 'running') = (ended_at is null)", name="ended"),
        # One at a time: two runs in one conversation would interleave what was said.
        Index(
            "uq_runs_conversation_running",
            "conversation_id",
            unique=True,
            postgresql_where=text("status = 'running'"),
        ),
        Index("uq_runs_idempotency_key", "tenant_id", "user_id", "idempotency_key", unique=True),
        Index("ix_runs_listing", "tenant_id", "user_id", "created_at", "id"),
        Index("ix_runs_lease", "lease_expires_at", postgresql_where=text("status = 'running'")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]
    user_id: Mapped[str]
    conversation_id: Mapped[UUID]
    agent: Mapped[str]
    model: Mapped[str]
    message: Mapped[str]
    idempotency_key: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default=RUNNING)
    owner: Mapped[str]
    lease_expires_at: Mapped[datetime]
    output: Mapped[str | None]
    final_agent: Mapped[str | None]
    handoffs: Mapped[list[Any]] = mapped_column(server_default="[]")
    usage: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    error_code: Mapped[str | None]
    error_detail: Mapped[str | None]
    trace_id: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]


outbox.to_metadata(Base.metadata)

"""The table of conversations whose history is to be summarized."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from chat_agent.models import Base


class Compaction(Base):
    """A conversation whose history is to be summarized; deleted when it is, and with its run."""

    __tablename__ = "compactions"
    __table_args__ = (Index("ix_compactions_due_at", "due_at"), Index("ix_compactions_run_id", "run_id"))

    # Of the summary, too; the ids of what its attempts use are made of it.
    id: Mapped[UUID] = mapped_column(primary_key=True)
    conversation_id: Mapped[UUID] = mapped_column(unique=True)
    # At whose end it became due.
    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    # When the next attempt begins; while a process works on it, when another may.
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())
    attempt: Mapped[int] = mapped_column(server_default="0")
    # What the conversation is to store, once the model has written it.
    summary: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))

"""The table of memories."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Index, func, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from chat_agent.models import Base

WORDS = "to_tsvector('english', text)"


class Memory(Base):
    """A note of a person; a correction is a new one, which supersedes it."""

    __tablename__ = "memories"
    __table_args__ = (
        CheckConstraint("kind in ('fact', 'preference', 'summary')", name="kind"),
        CheckConstraint("(embedding is null) = (embedding_model is null)", name="embedded"),
        Index("ix_memories_listing", "tenant_id", "user_id", "created_at", "id"),
        Index("ix_memories_user_id", "user_id"),
        Index(
            "ix_memories_superseded_by", "superseded_by", postgresql_where=text("superseded_by is not null")
        ),
        Index("ix_memories_expires_at", "expires_at", postgresql_where=text("expires_at is not null")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]
    # As of runs: a person, an application, or its end user.
    user_id: Mapped[str]
    # Whose it is alone; without one all agents of the tenant read it.
    agent: Mapped[str | None]
    kind: Mapped[str]
    text: Mapped[str]
    # Where an agent noted it; of what the person has written themselves, none.
    source_run: Mapped[UUID | None]
    source_conversation: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    # It is deleted with the one that superseded it: nothing of a deleted memory may remain.
    superseded_by: Mapped[UUID | None] = mapped_column(ForeignKey("memories.id", ondelete="CASCADE"))
    words: Mapped[str | None] = mapped_column(TSVECTOR, Computed(WORDS, persisted=True), deferred=True)
    # The vector of its text as float32, and the model that made it.
    embedding: Mapped[bytes | None] = mapped_column(deferred=True)
    embedding_model: Mapped[str | None] = mapped_column(deferred=True)

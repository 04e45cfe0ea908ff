"""The tables of conversation."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID, uuid4

from servicekit.database import metadata
from servicekit.erasure import deleted_users, tenants
from servicekit.events.outbox import inbox
from servicekit.idempotency import idempotency_keys
from sqlalchemy import BigInteger, Computed, ForeignKey, Index, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# A function of the migrations: words as they are, the stems of English words, and the neighbouring letters of
# scripts without spaces, all in Unicode's form NFKC.
WORDS = "search_words(text)"


class Base(DeclarativeBase):
    """The registry of this service's tables."""

    metadata = metadata()
    type_annotation_map: ClassVar = {datetime: TIMESTAMP(timezone=True), str: Text, dict[str, Any]: JSONB}


class Conversation(Base):
    """A conversation of one user of a tenant with agents."""

    __tablename__ = "conversations"
    __table_args__ = (
        # The order of the list.
        Index("ix_conversations_owner", "tenant_id", "user_id", "updated_at", "id"),
        # For the deletion of temporary conversations.
        Index("ix_conversations_expires_at", "expires_at", postgresql_where=text("expires_at is not null")),
        # For the erasure of a user, in every tenant.
        Index("ix_conversations_user_id", "user_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant_id: Mapped[UUID]
    user_id: Mapped[str]
    title: Mapped[str | None]
    message_count: Mapped[int] = mapped_column(default=0)
    last_message: Mapped[str | None]
    item_count: Mapped[int] = mapped_column(server_default="0", default=0)
    byte_count: Mapped[int] = mapped_column(BigInteger, server_default="0", default=0)
    # The summary that agents read in place of all items up to `summary_until`.
    summary_position: Mapped[int | None]
    summary_until: Mapped[int] = mapped_column(server_default="0", default=0)
    # Positions are never reused, so that a cursor never returns an item twice.
    last_position: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    # What its application notes about it.
    notes: Mapped[dict[str, Any]] = mapped_column("metadata", server_default="{}")
    # Of a temporary conversation, which is in no list and no search, and not counted.
    expires_at: Mapped[datetime | None]


class Item(Base):
    """One item of a conversation, as the Agents SDK produced it; a message also as role and text."""

    __tablename__ = "items"
    __table_args__ = (
        UniqueConstraint("conversation_id", "id"),
        Index("ix_items_words", "words", postgresql_using="gin"),
        Index(
            "ix_items_summaries",
            "conversation_id",
            "position",
            postgresql_where=text("summary_until is not null"),
        ),
    )

    conversation_id: Mapped[UUID] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    id: Mapped[str]
    data: Mapped[dict[str, Any]]
    role: Mapped[str | None]
    text: Mapped[str | None]
    # The run whose client shows another history: left out of what agents read and lists return.
    superseded_by: Mapped[UUID | None]
    # Of a summary: the positions of the first and the last item that it stands for.
    summary_from: Mapped[int | None]
    summary_until: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    words: Mapped[str | None] = mapped_column(TSVECTOR, Computed(WORDS, persisted=True), deferred=True)

    @property
    def kind(self) -> str:
        """Return whether it is a summary of other items, or an item that was said or done."""
        return "item" if self.summary_until is None else "summary"

    @property
    def summarizes(self) -> dict[str, int] | None:
        """Return the positions of the first and the last item that a summary stands for."""
        if self.summary_from is None or self.summary_until is None:
            return None
        return {"first_position": self.summary_from, "last_position": self.summary_until}

    @property
    def is_incomplete(self) -> bool:
        """Return whether the answer was cut off."""
        return self.data.get("status") == "incomplete"


class Usage(Base):
    """Storage used by one user of a tenant; triggers count conversations, `item_store` and `turns` bytes."""

    __tablename__ = "usage"

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(primary_key=True)
    conversations: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)


class Turn(Base):
    """The newest attempt of a run, which alone may write its items."""

    __tablename__ = "turns"

    conversation_id: Mapped[UUID] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True
    )
    run_id: Mapped[UUID] = mapped_column(primary_key=True)
    attempt: Mapped[int]


class ErasedEndUser(Base):
    """An end user that was erased, by a digest, and until when its runs had begun."""

    __tablename__ = "erased_end_users"

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    erased_before: Mapped[datetime]
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.now())


inbox.to_metadata(Base.metadata)
idempotency_keys.to_metadata(Base.metadata)
deleted_users.to_metadata(Base.metadata)
tenants.to_metadata(Base.metadata)

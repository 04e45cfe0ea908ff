"""The tables of conversation."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID, uuid4

from servicekit.database import metadata
from servicekit.erasure import deleted_users, tenants
from servicekit.events.outbox import inbox
from servicekit.idempotency import idempotency_keys
from sqlalchemy import BigInteger, Computed, ForeignKey, Index, Text, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# Words as they stand, for every language, and English words by their stem too. Only so much of a message
# is indexed that its word list stays below the limit of 1 MiB that Postgres sets for one.
WORDS = "to_tsvector('simple', left(text, 100000)) || to_tsvector('english', left(text, 100000))"


class Base(DeclarativeBase):
    """The registry of this service's tables."""

    metadata = metadata()
    type_annotation_map: ClassVar = {datetime: TIMESTAMP(timezone=True), str: Text, dict[str, Any]: JSONB}


class Conversation(Base):
    """What one person of a tenant says to agents, and hears from them."""

    __tablename__ = "conversations"
    __table_args__ = (
        # The order in which they are listed.
        Index("ix_conversations_owner", "tenant_id", "user_id", "updated_at", "id"),
        # Of somebody who leaves, in whichever tenants they were.
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
    # Positions are never given out twice, so that a cursor never shows an item again.
    last_position: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class Item(Base):
    """One item of a conversation, as the agent's SDK gave it; a message also as a role and a text."""

    __tablename__ = "items"
    __table_args__ = (
        UniqueConstraint("conversation_id", "id"),
        Index("ix_items_words", "words", postgresql_using="gin"),
    )

    conversation_id: Mapped[UUID] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    id: Mapped[str]
    data: Mapped[dict[str, Any]]
    role: Mapped[str | None]
    text: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    words: Mapped[str | None] = mapped_column(TSVECTOR, Computed(WORDS, persisted=True), deferred=True)

    @property
    def is_incomplete(self) -> bool:
        """Tell whether the answer was cut off here."""
        return self.data.get("status") == "incomplete"


class Usage(Base):
    """How much one person of a tenant keeps; triggers count conversations, `keeping` and `turns` bytes."""

    __tablename__ = "usage"

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(primary_key=True)
    conversations: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)


class Turn(Base):
    """Which attempt of a run may write its items: the newest that was heard of."""

    __tablename__ = "turns"

    conversation_id: Mapped[UUID] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True
    )
    run_id: Mapped[UUID] = mapped_column(primary_key=True)
    attempt: Mapped[int]


inbox.to_metadata(Base.metadata)
idempotency_keys.to_metadata(Base.metadata)
deleted_users.to_metadata(Base.metadata)
tenants.to_metadata(Base.metadata)

"""The table of uploaded files."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from chat_agent.models import Base

PURPOSES = ("assistants", "batch", "user_data", "vision")


class StoredFile(Base):
    """A file that was uploaded before the messages that refer to it."""

    __tablename__ = "files"
    __table_args__ = (
        CheckConstraint(f"purpose in {PURPOSES}", name="purpose"),
        Index("ix_files_listing", "tenant_id", "user_id", "created_at", "id"),
        Index("ix_files_user_id", "user_id"),
        Index("ix_files_expires_at", "expires_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]
    user_id: Mapped[str]
    filename: Mapped[str]
    purpose: Mapped[str]
    media_type: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    # Read only where it is needed.
    content: Mapped[bytes] = mapped_column(deferred=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]

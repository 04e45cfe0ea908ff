"""The table of tenants' HTTP tools."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from chat_agent.models import ORDERED_JSON, Base


class StoredTool(Base):
    """A version of a tool, never changed; replaced ones stay while versions of agents name them."""

    __tablename__ = "http_tools"
    __table_args__ = (
        Index(
            "uq_http_tools_name",
            "tenant_id",
            "name",
            unique=True,
            postgresql_where=text("replaced_at is null"),
        ),
        Index("uq_http_tools_number", "tenant_id", "name", "number", unique=True),
        Index("ix_http_tools_digest", "tenant_id", "digest"),
        Index("ix_http_tools_replaced_at", "replaced_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]
    name: Mapped[str]
    number: Mapped[int]
    document: Mapped[dict[str, Any]] = mapped_column(ORDERED_JSON)
    digest: Mapped[str]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # Since when another version, or none, is in its place.
    replaced_at: Mapped[datetime | None]

"""The tables of MCP servers."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, func
from sqlalchemy.orm import Mapped, mapped_column

from chat_agent.models import Base


class McpServer(Base):
    """An MCP server of a tenant, with its tools as somebody has confirmed them."""

    __tablename__ = "mcp_servers"
    __table_args__ = (Index("uq_mcp_servers_name", "tenant_id", "name", unique=True),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]
    name: Mapped[str]
    config: Mapped[dict[str, Any]]
    # The version of the protocol that it speaks; none as long as its tools have not been read.
    protocol: Mapped[str | None]
    tools: Mapped[list[Any]] = mapped_column(server_default="[]")
    # As they were read last, where that is not what was confirmed.
    changed_tools: Mapped[list[Any] | None]
    checked_at: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

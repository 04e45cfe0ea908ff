"""The tables of MCP servers."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from chat_agent.models import ORDERED_JSON, Base


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
    tools: Mapped[list[Any]] = mapped_column(ORDERED_JSON, server_default="[]")
    # As they were read last, where that is not what was confirmed.
    changed_tools: Mapped[list[Any] | None]
    checked_at: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class McpSignIn(Base):
    """Whether a person has signed in for a server; tokens are among the secrets of the tenant."""

    __tablename__ = "mcp_sign_ins"
    __table_args__ = (
        CheckConstraint("state in ('connected', 'needs_login', 'revoked')", name="state"),
        Index("uq_mcp_sign_ins_person", "server_id", "user_id", unique=True),
        Index("ix_mcp_sign_ins_user_id", "user_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]
    server_id: Mapped[UUID] = mapped_column(ForeignKey("mcp_servers.id", ondelete="CASCADE"))
    user_id: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="needs_login")
    # Of a sign-in that was begun: the digest of its `state`, and until when it may be completed.
    state_hash: Mapped[str | None]
    attempt_expires_at: Mapped[datetime | None]
    # While a replica refreshes the token; no other one does before that.
    refresh_lease_expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

"""The tables of agents that are data."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from chat_agent.models import ORDERED_JSON, Base


class StoredAgent(Base):
    """An agent of a tenant; a deleted one stays until no run needs it."""

    __tablename__ = "agents"
    __table_args__ = (
        Index(
            "uq_agents_name", "tenant_id", "name", unique=True, postgresql_where=text("deleted_at is null")
        ),
        Index("ix_agents_deleted_at", "deleted_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]
    name: Mapped[str]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None]


class StoredVersion(Base):
    """A version of an agent: a draft until it is published for the first time, and never changed after."""

    __tablename__ = "agent_versions"
    __table_args__ = (
        CheckConstraint("state in ('draft', 'published', 'retired')", name="state"),
        CheckConstraint("(state = 'draft') = (published_at is null)", name="published"),
        Index("uq_agent_versions_number", "agent_id", "number", unique=True),
        Index("uq_agent_versions_draft", "agent_id", unique=True, postgresql_where=text("state = 'draft'")),
        Index("ix_agent_versions_digest", "tenant_id", "digest"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agents.id", ondelete="CASCADE"))
    tenant_id: Mapped[UUID]
    number: Mapped[int]
    definition: Mapped[dict[str, Any]] = mapped_column(ORDERED_JSON)
    schema_version: Mapped[int]
    digest: Mapped[str]
    note: Mapped[str] = mapped_column(server_default="")
    state: Mapped[str] = mapped_column(server_default="draft")
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    published_at: Mapped[datetime | None]


class Release(Base):
    """Which version answers: the stable one, and beside it a canary for a share of the conversations."""

    __tablename__ = "agent_releases"
    __table_args__ = (
        CheckConstraint("label in ('stable', 'canary')", name="label"),
        CheckConstraint("percentage between 1 and 100", name="percentage"),
    )

    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agents.id", ondelete="CASCADE"), primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)
    version_id: Mapped[UUID] = mapped_column(ForeignKey("agent_versions.id", ondelete="CASCADE"))
    percentage: Mapped[int] = mapped_column(server_default="100")

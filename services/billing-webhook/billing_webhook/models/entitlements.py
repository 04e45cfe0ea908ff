"""What a tenant may use: budgets, reservations of runs, and the version of its entitlements."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from billing_webhook.models.base import Base


class Budget(Base):
    """A limit that a tenant sets for itself, or for one of its users, API keys or agents."""

    __tablename__ = "budgets"
    __table_args__ = (
        UniqueConstraint(
            "tenant_id", "scope", "scope_id", "unit", "interval", postgresql_nulls_not_distinct=True
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]
    # tenant, user, api_key or agent; only the tenant has no id.
    scope: Mapped[str]
    scope_id: Mapped[str | None]
    # messages, tokens or cost (in minor units).
    unit: Mapped[str]
    limit: Mapped[Decimal]
    # day, month or period (the subscription's).
    interval: Mapped[str]
    # hard or soft.
    kind: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


class Reservation(Base):
    """What one call of a run may use at most; once it is settled, what it used.

    `holds` are the amounts in `usage_totals.reserved`, by counter: released when the run's usage is recorded.
    """

    __tablename__ = "reservations"
    __table_args__ = (
        Index("ix_reservations_expires_at", "expires_at", postgresql_where=text("state = 'reserved'")),
        Index("ix_reservations_created_at", "created_at"),
        Index("ix_reservations_user_id", "user_id"),
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    run_id: Mapped[UUID] = mapped_column(primary_key=True)
    call: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str]
    api_key_id: Mapped[str | None]
    agent: Mapped[str]
    model: Mapped[str]
    # With a key of the tenant's own, so that it costs nothing here.
    own_key: Mapped[bool] = mapped_column(server_default="false")
    messages: Mapped[int]
    input_tokens: Mapped[int]
    output_tokens: Mapped[int]
    # reserved, settled or expired.
    state: Mapped[str]
    settled_input_tokens: Mapped[int | None]
    settled_output_tokens: Mapped[int | None]
    holds: Mapped[list[dict[str, Any]]]
    warnings: Mapped[list[dict[str, Any]]]
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class EntitlementGrant(Base):
    """What an operator has granted a tenant beside its plan: another limit, no limit, or a feature."""

    __tablename__ = "entitlement_grants"
    __table_args__ = (Index("ix_entitlement_grants_tenant_id", "tenant_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]
    feature_key: Mapped[str]
    # None: without limit.
    limit: Mapped[Decimal | None]
    # Of several grants of a feature the one with the highest priority counts.
    priority: Mapped[int]
    expires_at: Mapped[datetime | None]
    reason: Mapped[str]
    granted_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class EntitlementVersion(Base):
    """A number that grows with each change of a tenant's subscription, grants or budgets."""

    __tablename__ = "entitlement_versions"

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int]

"""Customers, subscriptions, invoices, and the commands that are sent to Stripe."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, Index, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from billing_webhook.models.base import Base

NOT_DELETED, NOT_ENDED = text("deleted_at is null"), text("ended_at is null")


class Customer(Base):
    """A tenant's customer at Stripe. A deleted one stays, so that late events find its tenant."""

    __tablename__ = "customers"
    __table_args__ = (
        Index("uq_customers_tenant_id", "tenant_id", unique=True, postgresql_where=NOT_DELETED),
    )

    stripe_customer_id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]
    billing_email: Mapped[str | None]
    deleted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Subscription(Base):
    """A tenant's subscription: Stripe's state of it, or the free plan, which Stripe does not know.

    A tenant has at most one that has not ended; those before it stay.
    """

    __tablename__ = "subscriptions"
    __table_args__ = (
        Index("uq_subscriptions_tenant_id", "tenant_id", unique=True, postgresql_where=NOT_ENDED),
        Index("ix_subscriptions_tenant_id_created_at", "tenant_id", "created_at"),
        Index(
            "ix_subscriptions_access_changes_at",
            "access_changes_at",
            postgresql_where=text("access_changes_at is not null"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant_id: Mapped[UUID]
    stripe_subscription_id: Mapped[str | None] = mapped_column(unique=True)
    plan_code: Mapped[str]
    # Stripe's word; the free plan is "active".
    status: Mapped[str]
    seats: Mapped[int]
    # For each: id, price, lookup_key, quantity, current_period_start, current_period_end.
    items: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    # From which periods are counted where `current_period_start` is not known.
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # Out of the items; Stripe's subscriptions have none of their own any more.
    current_period_start: Mapped[datetime | None]
    current_period_end: Mapped[datetime | None]
    trial_end: Mapped[datetime | None]
    cancel_at_period_end: Mapped[bool] = mapped_column(server_default=text("false"))
    cancel_at: Mapped[datetime | None]
    # Of a paused collection of payments: what becomes of its invoices, and until when.
    pause_behavior: Mapped[str | None]
    pause_resumes_at: Mapped[datetime | None]
    # Since when a payment is due that has failed; the grace period counts from here.
    past_due_since: Mapped[datetime | None]
    # Why it gives its access, as it was published last; and when time alone changes that next.
    access_reason: Mapped[str] = mapped_column(server_default=text("'paid'"))
    access_changes_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    # When the state was read that was applied last: an older one may not overwrite it.
    fetched_at: Mapped[datetime] = mapped_column(server_default=func.now())
    version: Mapped[int] = mapped_column(server_default=text("1"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Invoice(Base):
    """An invoice of a tenant, as Stripe has it."""

    __tablename__ = "invoices"
    __table_args__ = (Index("ix_invoices_tenant_id_created_at", "tenant_id", "created_at"),)

    stripe_invoice_id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]
    stripe_subscription_id: Mapped[str | None]
    number: Mapped[str | None]
    status: Mapped[str]
    currency: Mapped[str]
    total: Mapped[int]
    amount_due: Mapped[int]
    amount_paid: Mapped[int]
    amount_remaining: Mapped[int]
    attempt_count: Mapped[int]
    next_payment_attempt: Mapped[datetime | None]
    hosted_invoice_url: Mapped[str | None]
    invoice_pdf: Mapped[str | None]
    period_start: Mapped[datetime]
    period_end: Mapped[datetime]
    created_at: Mapped[datetime]
    version: Mapped[int] = mapped_column(server_default=text("1"))


class CommandState(StrEnum):
    """What has become of a command."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Command(Base):
    """A command to Stripe, stored before it is sent.

    Stripe's idempotency key is derived from its id, so that whoever repeats it, after whichever crash, has
    one effect. A tenant has at most one that is pending.
    """

    __tablename__ = "subscription_commands"
    __table_args__ = (
        Index(
            "uq_subscription_commands_tenant_id",
            "tenant_id",
            unique=True,
            postgresql_where=text("state = 'pending'"),
        ),
        Index(
            "uq_subscription_commands_idempotency_key",
            "tenant_id",
            "idempotency_key",
            unique=True,
            postgresql_where=text("state <> 'failed'"),
        ),
        CheckConstraint("state in ('pending', 'succeeded', 'failed')", name="state"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant_id: Mapped[UUID]
    actor: Mapped[str]
    # Of the actor, for the audit log: whoever finishes the command has another request.
    session_id: Mapped[str | None]
    request_id: Mapped[str | None]
    kind: Mapped[str]
    arguments: Mapped[dict[str, Any]]
    # What the request is made of besides, as it was when the command was stored: a repeated request must be
    # the same to the letter. And what came of it.
    facts: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    # The client's, if it sent one.
    idempotency_key: Mapped[str | None]
    state: Mapped[str] = mapped_column(server_default=CommandState.PENDING)
    # Goes up when Stripe keeps a failure for the key that the outcome was not found under.
    generation: Mapped[int] = mapped_column(server_default=text("0"))
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=func.now())
    error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]

    def key(self, step: str) -> str:
        """Return Stripe's idempotency key for a step of the command."""
        return f"acme:{self.id}:{self.generation}:{step}"

"""What happened to a tenant's billing, in the order of its sequence."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from billing_webhook.models.base import Base


class BillingEvent(Base):
    """An event of a tenant's billing, as the stream and the list of events show it."""

    __tablename__ = "billing_events"
    __table_args__ = (UniqueConstraint("tenant_id", "seq"),)

    # The id of the event on the bus, too.
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]
    seq: Mapped[int]
    type: Mapped[str]
    data: Mapped[dict[str, Any]]
    occurred_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


class BillingEventCounter(Base):
    """The last sequence number of a tenant.

    A row that a transaction locks until it commits: numbers become visible in their order, which those of a
    Postgres sequence do not.
    """

    __tablename__ = "billing_event_counters"

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    last_seq: Mapped[int]

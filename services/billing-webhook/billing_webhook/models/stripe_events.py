"""Events of Stripe."""

from datetime import datetime

from sqlalchemy import func
from sqlalchemy.orm import Mapped, mapped_column

from billing_webhook.models.base import Base


class StripeEvent(Base):
    """An event as Stripe sent it, byte for byte, so that it can be processed again."""

    __tablename__ = "stripe_events"

    id: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]
    # Thin events have none, since they contain no object.
    api_version: Mapped[str | None]
    livemode: Mapped[bool]
    created: Mapped[datetime]
    payload: Mapped[bytes]
    status: Mapped[str] = mapped_column(server_default="received")
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())

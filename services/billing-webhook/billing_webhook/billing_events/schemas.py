"""Billing events as the stream and the list show them."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, JsonValue, StringConstraints

EventType = Annotated[str, StringConstraints(pattern=r"^billing\.[a-z0-9_.]+$", max_length=100)]


class BillingEvent(BaseModel):
    """Something that happened to a tenant's billing; `seq` counts its events without holes."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    seq: int
    type: str
    occurred_at: datetime
    data: dict[str, JsonValue]

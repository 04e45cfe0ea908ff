"""Responses."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class Notification(BaseModel):
    """An email to the caller: its type and its state, without its address and its text."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    type: str = Field(validation_alias="template", examples=["email_verification"])
    status: Literal["queued", "sending", "sent", "failed", "expired", "skipped"]
    created_at: datetime
    sent_at: datetime | None

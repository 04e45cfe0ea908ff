"""Responses of the usage routes."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict


def to_utc(time: datetime) -> datetime:
    """Convert a time to UTC; a time without a zone is UTC."""
    if not 2000 <= time.year < 2200:
        raise ValueError("must be between the years 2000 and 2200")
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


UtcDatetime = Annotated[datetime, AfterValidator(to_utc)]


class Usage(BaseModel):
    """Sums of a period; cached tokens are part of the input, reasoning tokens of the output."""

    model_config = ConfigDict(from_attributes=True)

    runs: int
    requests: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int


class ModelUsage(Usage):
    """Sums of one model. A run that used two models counts in both."""

    model: str


class TenantUsage(BaseModel):
    """Usage of a tenant from `period_start` (inclusive) to `period_end` (exclusive)."""

    tenant_id: UUID
    period_start: datetime
    period_end: datetime
    totals: Usage
    models: list[ModelUsage]

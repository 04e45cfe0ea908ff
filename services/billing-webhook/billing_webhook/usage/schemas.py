"""Requests and responses of the usage routes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from servicekit.schemas import RequestModel, Time, max_length, reject_numbers
from servicekit.validation_errors import first_errors

from billing_webhook.quantities import ExactDecimal, Quantity

MAX_BATCH = 1000
MAX_DIMENSIONS = 16
MAX_BATCH_BODY = 1024 * 1024
# Keys of the records of runs begin so.
RUN_PREFIX = "run:"
VISIBLE = r"^[^\x00-\x1f\x7f]*$"


def check_prefix(key: str) -> str:
    """Refuse keys that records of runs have."""
    if key.startswith(RUN_PREFIX):
        raise ValueError(f"must not begin with {RUN_PREFIX}")
    return key


IdempotencyKey = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255, pattern=VISIBLE),
    AfterValidator(check_prefix),
    Field(description="The same key and body again have one effect and the same answer."),
]
FeatureKey = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Dimension = Annotated[str, StringConstraints(max_length=200, pattern=VISIBLE)]


def to_utc(time: datetime) -> datetime:
    """Convert a time to UTC; a time without a zone is UTC."""
    if not 2000 <= time.year < 2200:
        raise ValueError("must be between the years 2000 and 2200")
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


UtcDatetime = Annotated[datetime, BeforeValidator(reject_numbers), AfterValidator(to_utc)]


class UsageReport(RequestModel):
    """Usage of a feature; without a time it occurred now, or at the end of a period that is over."""

    feature_key: FeatureKey
    quantity: Annotated[ExactDecimal, Field(gt=0, description="An integer, or a decimal number as text.")]
    idempotency_key: IdempotencyKey
    occurred_at: Time | None = None
    period_start: Time | None = None
    period_end: Time | None = None
    dimensions: Annotated[
        dict[Dimension, Dimension],
        Field(max_length=MAX_DIMENSIONS),
        BeforeValidator(max_length(MAX_DIMENSIONS)),
    ] = Field(default_factory=dict)


class InvalidReport(BaseModel):
    """What does not fit of one report of a batch."""

    detail: str


def keep_invalid(value: object, validate: ValidatorFunctionWrapHandler) -> object:
    """Return what is wrong with one report in its place, so that the others are recorded."""
    try:
        return validate(value)
    except ValidationError as error:
        first = next(first_errors(error.errors()), None)
        place, message = (first["loc"], first["msg"]) if isinstance(first, dict) else ([], "invalid")
        where = ".".join(map(str, place)) if isinstance(place, list) else ""
        return InvalidReport(detail=f"{where}: {message}" if where else str(message))


class UsageBatch(RequestModel):
    """Up to 1,000 reports, each of which is recorded or refused by itself."""

    items: Annotated[
        list[Annotated[UsageReport, WrapValidator(keep_invalid)]], Field(min_length=1, max_length=MAX_BATCH)
    ]

    @model_validator(mode="after")
    def check_any(self) -> Self:
        """Refuse a batch in which nothing is a report."""
        invalid = [item for item in self.reports if isinstance(item, InvalidReport)]
        if len(invalid) == len(self.items):
            raise ValueError(f"no item is a usage report; the first: {invalid[0].detail}")
        return self

    @property
    def reports(self) -> Sequence[UsageReport | InvalidReport]:
        """The items, of which some may be invalid."""
        return self.items


class Reversal(RequestModel):
    """Reverses a record."""

    idempotency_key: IdempotencyKey


class UsageRecord(BaseModel):
    """A record of the ledger."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    feature_key: str
    quantity: Quantity
    idempotency_key: str
    occurred_at: datetime
    received_at: datetime
    period_start: datetime
    # It came after the grace time of its period, and counts in a later one.
    is_adjustment: bool
    reverses_id: UUID | None
    source: Literal["api", "run"]
    dimensions: dict[str, str]
    run_id: UUID | None
    agent: str | None
    model: str | None


class UsageError(BaseModel):
    """Why a report was not recorded."""

    status: int
    code: str
    detail: str


class UsageResult(BaseModel):
    """What has become of one report of a batch."""

    index: int
    state: Literal["recorded", "replayed", "refused"]
    record: UsageRecord | None = None
    error: UsageError | None = None


class UsageResults(BaseModel):
    """What has become of each report, in their order."""

    recorded: int
    replayed: int
    refused: int
    items: list[UsageResult]


class FeatureTotal(BaseModel):
    """What was used of a feature in a period; `adjustments` are the part that occurred before it."""

    feature_key: str
    used: Quantity
    reserved: Quantity
    adjustments: Quantity


class UsageTotals(BaseModel):
    """Totals of a period, by feature."""

    period_start: datetime
    period_end: datetime
    plan_code: str
    features: list[FeatureTotal]


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

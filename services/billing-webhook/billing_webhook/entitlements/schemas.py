"""Requests and responses of budgets, reservations and entitlements."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from servicekit.schemas import RequestModel

from billing_webhook.access import Access
from billing_webhook.entitlements.periods import Interval
from billing_webhook.plans.catalog import RequestLimits
from billing_webhook.quantities import ExactDecimal, Quantity

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
# The end user of an application may be part of it, percent-encoded.
UserId = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
Count = Annotated[int, Field(ge=0, lt=2**53, strict=True)]
Limit = Annotated[ExactDecimal, Field(ge=0)]
Scope = Literal["tenant", "user", "api_key", "agent"]
Kind = Literal["hard", "soft"]


class NewBudget(RequestModel):
    """A limit for the tenant, or for one of its users, API keys or agents."""

    scope: Scope = "tenant"
    scope_id: Annotated[
        UserId | None,
        Field(
            description="The user (`user:<uuid>`, `service:<client id>/<end user>`), the API key's id or the "
            "agent's name."
        ),
    ] = None
    unit: Literal["messages", "tokens", "cost"]
    limit: Annotated[Limit, Field(description="Of the unit; for `cost`, in minor units of the currency.")]
    interval: Interval = "month"
    kind: Kind = "hard"

    @model_validator(mode="after")
    def check_scope_id(self) -> Self:
        """Require an id for every scope except the tenant's."""
        if (self.scope == "tenant") != (self.scope_id is None):
            raise ValueError("scope_id is required for a user, an API key or an agent, and only for these")
        return self


class BudgetChange(RequestModel):
    """What can be changed of a budget."""

    limit: Limit | None = None
    kind: Kind | None = None


class Budget(BaseModel):
    """A budget, and what of it is used and reserved in this interval."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    scope: Scope
    scope_id: str | None
    unit: str
    limit: Quantity
    interval: Interval
    kind: Kind
    used: Quantity
    reserved: Quantity
    resets_at: datetime
    created_at: datetime
    updated_at: datetime


class Budgets(BaseModel):
    """The budgets of a tenant."""

    items: list[Budget]


class ReservationRequest(RequestModel):
    """What a call of a run uses at most, for whom, and with which model."""

    user_id: UserId
    api_key_id: Name | None = None
    agent: Name
    model: Name
    own_key: bool = Field(False, description="Called with a key of the tenant's own: it costs nothing.")
    messages: Count = 0
    input_tokens: Count = 0
    output_tokens: Count = 0


class Settlement(RequestModel):
    """What the call really used; without `messages` they stay as they were reserved."""

    messages: Count | None = None
    input_tokens: Count = 0
    output_tokens: Count = 0


class QuotaWarning(BaseModel):
    """A soft limit that is exceeded."""

    feature: str
    scope: str
    used: Quantity
    limit: Quantity
    resets_at: datetime


class Reservation(BaseModel):
    """A reservation, and the soft limits that it exceeds."""

    model_config = ConfigDict(from_attributes=True)

    state: Literal["reserved", "settled", "expired"]
    expires_at: datetime
    warnings: list[QuotaWarning]


class Limits(BaseModel):
    """Whether runs of a tenant need reservations: not without a hard limit and without a budget."""

    has_limits: bool
    version: int
    features: list[str]
    budgets: int
    requests: RequestLimits = Field(description="How large one request may be by the tenant's plan.")


class Amounts(BaseModel):
    """What a call uses, by feature of the plan or unit of a budget."""

    messages: int
    input_tokens: int
    output_tokens: int
    cost: Decimal
    # Whether only tokens count, since the provider charges the tenant.
    is_free: bool = False

    def is_checked(self, feature: str) -> bool:
        """Return whether a run does not start where nothing is left of a feature."""
        return bool(self.messages) and not (self.is_free and feature == "cost")

    def of(self, feature: str) -> Decimal:
        """Return the amount of a feature or unit."""
        if feature == "tokens":
            return Decimal(self.input_tokens + self.output_tokens)
        return Decimal(getattr(self, feature))


class FeatureDefinition(BaseModel):
    """What a tenant may use of a feature at most."""

    type: Literal["metered", "static", "boolean"]
    is_included: bool
    limit: Decimal | None = None
    soft: bool = False
    source: Literal["plan", "stripe", "grant"] = "plan"


class Definition(BaseModel):
    """What a tenant may use at most, of a version of its entitlements."""

    version: int
    valid_until: AwareDatetime
    plan_code: str
    access: Access
    seats: int
    period_start: AwareDatetime
    period_end: AwareDatetime
    features: dict[str, FeatureDefinition]


class Entitlement(BaseModel):
    """Whether a tenant may use a feature, how much of it, and until when.

    `type` is `metered` (used up in a period), `static` (a number at any time) or `boolean`. Without a limit,
    `limit` and `remaining` are null.
    """

    feature: str
    has_access: bool
    type: Literal["metered", "static", "boolean"]
    limit: Quantity | None
    used: Quantity
    reserved: Quantity
    remaining: Quantity | None
    overage: Quantity
    resets_at: datetime | None
    soft: bool
    source: Literal["plan", "stripe", "grant"]
    version: int


class Entitlements(BaseModel):
    """What a tenant may use."""

    plan_code: str
    access: Access
    version: int
    period_start: datetime
    period_end: datetime
    features: list[Entitlement]

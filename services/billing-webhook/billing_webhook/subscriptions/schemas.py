"""Bodies of the subscription routes."""

from datetime import UTC, datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, EmailStr, Field, HttpUrl, model_validator
from servicekit.schemas import RequestModel, Time

from billing_webhook.access import Access, access_at
from billing_webhook.models import Customer, Invoice, Subscription
from billing_webhook.plans.catalog import FREE

PlanCode = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Email = Annotated[EmailStr, Field(max_length=254)]
Seats = Annotated[int, Field(ge=1, le=100_000)]


class SubscriptionStart(RequestModel):
    """What a subscription begins with."""

    plan_code: PlanCode
    seat_count: Seats = 1
    billing_email: Email | None = None
    # False: it ends with its first period.
    auto_renew: bool = True


class SubscriptionChange(RequestModel):
    """What changes; what is left out stays."""

    plan_code: PlanCode | None = None
    seat_count: Seats | None = None
    billing_email: Email | None = None
    auto_renew: bool | None = None

    @model_validator(mode="after")
    def require_one(self) -> Self:
        """Refuse a change of nothing."""
        if not self.model_dump(exclude_none=True):
            raise ValueError("name at least one field")
        return self


class Cancellation(RequestModel):
    """When the subscription ends: with its period, or now, with what is left of it as a credit."""

    at_period_end: bool = True


class Pause(RequestModel):
    """Until when payments are not collected; until `resume` if there is no time."""

    resumes_at: Time | None = None

    @model_validator(mode="after")
    def require_future(self) -> Self:
        """Refuse a time that is over."""
        if self.resumes_at is not None and self.resumes_at <= datetime.now(UTC):
            raise ValueError("resumes_at must be in the future")
        return self


class Preview(RequestModel):
    """The change whose price is wanted."""

    plan_code: PlanCode | None = None
    seat_count: Seats | None = None


def without_credentials(url: HttpUrl) -> HttpUrl:
    """Refuse the address of a page that looks like another's: `https://acme.example@evil.example`."""
    if url.username is not None or url.password is not None:
        raise ValueError("must not contain credentials")
    return url


Page = Annotated[HttpUrl, AfterValidator(without_credentials)]


class CheckoutRequest(RequestModel):
    """What is subscribed to, and where Stripe's page leads afterwards."""

    plan_code: PlanCode
    seat_count: Seats = 1
    success_url: Page
    cancel_url: Page


class PortalRequest(RequestModel):
    """Where Stripe's portal leads afterwards."""

    return_url: Page


class HostedPage(BaseModel):
    """The address of a page of Stripe, to which the person is sent."""

    url: str


class SubscriptionView(BaseModel):
    """A tenant's subscription; without one at Stripe it is the free plan."""

    tenant_id: UUID
    plan_code: str
    # Stripe's words; the free plan is active.
    status: str
    # What may be used now: all of the plan, reading alone, or the free plan.
    access: Access
    seat_count: int
    billing_email: str | None
    auto_renew: bool
    current_period_start: datetime | None
    current_period_end: datetime | None
    trial_end: datetime | None
    cancel_at: datetime | None
    is_paused: bool
    pause_resumes_at: datetime | None
    past_due_since: datetime | None
    version: int

    @classmethod
    def of(cls, tenant_id: UUID, row: Subscription | None, customer: Customer | None) -> "SubscriptionView":
        """Describe a tenant's subscription; None is a tenant from before billing."""
        free = {"plan_code": FREE, "status": "active", "seats": 1, "cancel_at_period_end": False}
        row = row or Subscription(version=0, **free)
        return cls(
            tenant_id=tenant_id,
            plan_code=row.plan_code,
            status=row.status,
            access=access_at(row, datetime.now(UTC)),
            seat_count=row.seats,
            billing_email=customer and customer.billing_email,
            auto_renew=not (row.cancel_at_period_end or row.cancel_at),
            current_period_start=row.current_period_start,
            current_period_end=row.current_period_end,
            trial_end=row.trial_end,
            cancel_at=row.cancel_at,
            is_paused=row.pause_behavior is not None or row.status == "paused",
            pause_resumes_at=row.pause_resumes_at,
            past_due_since=row.past_due_since,
            version=row.version,
        )


class InvoiceView(BaseModel):
    """An invoice; amounts are in minor units of the currency."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    number: str | None
    status: str
    currency: str
    total: int
    amount_due: int
    amount_paid: int
    amount_remaining: int
    hosted_invoice_url: str | None
    invoice_pdf: str | None
    period_start: datetime
    period_end: datetime
    created_at: datetime

    @classmethod
    def of(cls, row: Invoice) -> "InvoiceView":
        """Describe an invoice."""
        return cls.model_validate({**vars(row), "id": row.stripe_invoice_id})


class InvoiceLine(BaseModel):
    """A line of an invoice that is not there yet."""

    description: str | None
    amount: int
    period_start: datetime
    period_end: datetime
    # Whether it is for a part of a period that a change begins or ends.
    is_proration: bool


class InvoicePreview(BaseModel):
    """An invoice as it would be; amounts are in minor units of the currency."""

    currency: str
    total: int
    amount_due: int
    period_start: datetime
    period_end: datetime
    lines: list[InvoiceLine]


class PaymentMethod(BaseModel):
    """A payment method, as far as it may be shown."""

    id: str
    type: str
    is_default: bool
    brand: str | None = None
    last4: str | None = None
    exp_month: int | None = None
    exp_year: int | None = None


class PaymentMethods(BaseModel):
    """A tenant's payment methods."""

    items: list[PaymentMethod]


class BillingContact(BaseModel):
    """Where emails about a tenant's billing go, besides to its owners."""

    billing_email: str | None

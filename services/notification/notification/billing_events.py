"""Billing's events, with only the fields that emails are made of."""

import re
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field

INVOICE_NUMBER = re.compile(r"[A-Za-z0-9-]{1,40}")
HTTP_URL = re.compile(r"https?://[^\s\"<>]{1,2000}")
# What usage is counted in; of what is not here, no email says anything.
FEATURES = {
    "messages": "messages",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "tokens": "tokens",
    "cost": "model cost",
}
# Currencies whose minor unit is not a hundredth (docs.stripe.com/currencies).
WITHOUT_MINOR_UNIT = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf"
WITH_THOUSANDTHS = "bhd jod kwd omr tnd"
DECIMAL_PLACES = {
    **dict.fromkeys(WITHOUT_MINOR_UNIT.split(), 0),
    **dict.fromkeys(WITH_THOUSANDTHS.split(), 3),
}


def invoice_number(text: str | None) -> str | None:
    """Return the number of an invoice, or None where the value is something else."""
    return text if text and INVOICE_NUMBER.fullmatch(text) else None


def http_url(text: str | None) -> str | None:
    """Return an address of the web, or None where the value is something else."""
    return text if text and HTTP_URL.fullmatch(text) else None


def format_amount(minor_units: int, currency: str) -> str:
    """Format an amount of money, as in `EUR 19.00`."""
    places = DECIMAL_PLACES.get(currency, 2)
    return f"{currency.upper()} {Decimal(minor_units).scaleb(-places):.{places}f}"


class TenantEvent(BaseModel):
    """An event of a tenant's billing."""

    tenant_id: UUID


class TrialEnding(TenantEvent):
    """`billing.trial.ending.v1`: the trial ends in a few days."""

    trial_end: AwareDatetime


class InvoiceEvent(TenantEvent):
    """A fact about an invoice."""

    number: Annotated[str | None, AfterValidator(invoice_number)]
    currency: Annotated[str, Field(pattern=r"^[a-z]{3}$")]
    amount_due: int


class InvoicePaymentFailed(InvoiceEvent):
    """`billing.invoice.payment_failed.v1`: a payment has failed."""

    next_payment_attempt: AwareDatetime | None
    read_only_at: AwareDatetime | None = None


class InvoicePaymentActionRequired(InvoiceEvent):
    """`billing.invoice.payment_action_required.v1`: the payer has to act, on Stripe's page of the invoice."""

    hosted_invoice_url: Annotated[str | None, AfterValidator(http_url)]


class AccessChanged(TenantEvent):
    """`billing.access.changed.v1`: the access that a subscription gives has changed, for a reason."""

    reason: str


class SubscriptionChanged(TenantEvent):
    """`billing.subscription.changed.v1`: a subscription has changed."""

    subscription_id: UUID
    status: str
    current_period_end: AwareDatetime | None
    cancel_at_period_end: bool


class UsageThresholdReached(TenantEvent):
    """`billing.usage.threshold_reached.v1`: usage has reached a share of a limit."""

    feature: str
    scope: str
    percent: int
    used: Decimal
    limit: Decimal
    kind: Literal["hard", "soft"]
    resets_at: AwareDatetime

"""The events that billing-webhook publishes."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, JsonValue
from servicekit.events.outbox import Event

from billing_webhook.access import Access, AccessReason
from billing_webhook.quantities import Quantity

# Each has a consumer group, created before the first event is published.
READERS = ("auth", "notification")


class AuditRecorded(Event):
    """Somebody has changed what a tenant pays, or may use; auth stores it in the tenant's audit log."""

    type: ClassVar[str] = "billing.audit.recorded.v1"

    tenant_id: UUID
    action: str
    # A user or a machine of the tenant; None is an operator of the installation, or the system itself.
    actor: str | None
    session_id: str | None
    request_id: str | None
    detail: dict[str, JsonValue]


class TenantEvent(Event):
    """An event of a tenant's billing, which its frontends read from the tenant's stream."""

    has_stream: ClassVar[bool] = True


class SubscriptionChanged(TenantEvent):
    """A tenant's subscription has begun, changed or ended; `version` goes up with every change."""

    type: ClassVar[str] = "billing.subscription.changed.v1"

    tenant_id: UUID
    subscription_id: UUID
    plan_code: str
    status: str
    seats: int
    current_period_start: AwareDatetime | None
    current_period_end: AwareDatetime | None
    trial_end: AwareDatetime | None
    cancel_at_period_end: bool
    version: int


class EntitlementsChanged(TenantEvent):
    """What a tenant may use has changed, or may have: its plan, or the status of its subscription."""

    type: ClassVar[str] = "billing.entitlements.changed.v1"

    tenant_id: UUID
    plan_code: str
    status: str


class AccessChanged(TenantEvent):
    """The access that a subscription gives has changed: by a payment, by Stripe, or by time alone.

    Each step of a payment that stays due is published once: `payment_due`, `payment_overdue`, `unpaid`.
    """

    type: ClassVar[str] = "billing.access.changed.v1"

    tenant_id: UUID
    subscription_id: UUID
    plan_code: str
    access: Access
    reason: AccessReason
    # When time alone changes the access next, such as at the end of the grace period.
    changes_at: AwareDatetime | None


class InvoiceEvent(TenantEvent):
    """A fact about an invoice; amounts are in minor units of the currency."""

    tenant_id: UUID
    invoice_id: str
    number: str | None
    currency: str
    amount_due: int
    amount_paid: int
    hosted_invoice_url: str | None


class InvoicePaid(InvoiceEvent):
    """An invoice was paid."""

    type: ClassVar[str] = "billing.invoice.paid.v1"


class InvoicePaymentFailed(InvoiceEvent):
    """A payment of an invoice has failed; Stripe tries again at `next_payment_attempt`, if at all."""

    type: ClassVar[str] = "billing.invoice.payment_failed.v1"

    attempt_count: int
    next_payment_attempt: AwareDatetime | None
    # When a subscription whose invoice stays unpaid becomes read-only.
    read_only_at: AwareDatetime | None = None


class InvoicePaymentActionRequired(InvoiceEvent):
    """A payment of an invoice needs an action of its payer, such as 3-D Secure."""

    type: ClassVar[str] = "billing.invoice.payment_action_required.v1"


class TrialEnding(TenantEvent):
    """The trial of a tenant's subscription ends in a few days."""

    type: ClassVar[str] = "billing.trial.ending.v1"

    tenant_id: UUID
    stripe_subscription_id: str
    trial_end: AwareDatetime


class PaymentDisputed(TenantEvent):
    """A payment is disputed, or its dispute has another status; the amount is in minor units."""

    type: ClassVar[str] = "billing.payment.disputed.v1"

    tenant_id: UUID
    dispute_id: str
    status: str
    reason: str
    amount: int
    currency: str


class PaymentRefunded(TenantEvent):
    """Some or all of a payment was returned; `amount_refunded` is all of it so far, in minor units."""

    type: ClassVar[str] = "billing.payment.refunded.v1"

    tenant_id: UUID
    charge_id: str
    amount: int
    amount_refunded: int
    currency: str


class UsageThresholdReached(TenantEvent):
    """What a tenant used has reached a share of a limit; each share is published once in a period."""

    type: ClassVar[str] = "billing.usage.threshold_reached.v1"

    tenant_id: UUID
    feature: str
    # tenant, or what a budget is for: user, api_key or agent
    scope: str
    percent: int
    used: Quantity
    limit: Quantity
    kind: Literal["hard", "soft"]
    period_start: AwareDatetime
    resets_at: AwareDatetime

"""The tables of billing-webhook."""

from servicekit.erasure import deleted_users, tenants
from servicekit.events.outbox import inbox, outbox
from servicekit.idempotency import idempotency_keys

from billing_webhook.models.base import Base
from billing_webhook.models.billing_events import BillingEvent, BillingEventCounter
from billing_webhook.models.entitlements import Budget, EntitlementGrant, EntitlementVersion, Reservation
from billing_webhook.models.stripe_events import StripeCursor, StripeDispatch, StripeEvent, StripeObject
from billing_webhook.models.subscriptions import Command, CommandState, Customer, Invoice, Subscription
from billing_webhook.models.usage import ErasedEndUser, MeterEvent, UsageEntry, UsageRecord, UsageTotal

for table in (deleted_users, idempotency_keys, inbox, outbox, tenants):
    table.to_metadata(Base.metadata)

__all__ = [
    "Base",
    "BillingEvent",
    "BillingEventCounter",
    "Budget",
    "Command",
    "CommandState",
    "Customer",
    "EntitlementGrant",
    "EntitlementVersion",
    "ErasedEndUser",
    "Invoice",
    "MeterEvent",
    "Reservation",
    "StripeCursor",
    "StripeDispatch",
    "StripeEvent",
    "StripeObject",
    "Subscription",
    "UsageEntry",
    "UsageRecord",
    "UsageTotal",
]

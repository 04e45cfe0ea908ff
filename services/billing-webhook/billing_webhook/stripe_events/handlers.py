"""Which handler processes which types of events, and to what effect.

An event of a thin destination has the type of its snapshot twin with `v1.` before it, and the same handlers.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.stripe_events import billing_sync, disputes, entitlements, meter_errors
from billing_webhook.stripe_events.fetch import Fetch, fetch_entitlements, fetch_error_report, fetch_object
from billing_webhook.stripe_events.handling import Handling

Apply = Callable[[AsyncSession, Handling], Awaitable[None]]


@dataclass(frozen=True)
class Handler:
    """A part of billing that events change: the effect of each type, and what has that effect."""

    effects: Mapping[str, str]
    apply: Apply
    fetch: Fetch = fetch_object
    # Whether its events are of a customer.
    has_tenant: bool = True


# Of API v2, and events of API v1 without a snapshot.
THIN = ("v1.", "v2.")

SUBSCRIPTION = "applies the subscription as Stripe has it now"
INVOICE = "applies the invoice as Stripe has it now"

HANDLERS: dict[str, Handler] = {
    "billing_sync": Handler(
        {
            "checkout.session.completed": "applies the subscription that the session has started",
            "customer.deleted": "applies the customer's subscriptions, which Stripe has ended",
            "customer.subscription.created": SUBSCRIPTION,
            "customer.subscription.deleted": SUBSCRIPTION,
            "customer.subscription.paused": SUBSCRIPTION,
            "customer.subscription.resumed": SUBSCRIPTION,
            "customer.subscription.trial_will_end": f"{SUBSCRIPTION}, and announces the end of the trial",
            "customer.subscription.updated": SUBSCRIPTION,
            "customer.updated": "applies the customer's e-mail address",
            "invoice.finalization_failed": INVOICE,
            "invoice.finalized": INVOICE,
            "invoice.marked_uncollectible": INVOICE,
            "invoice.paid": INVOICE,
            "invoice.payment_action_required": f"{INVOICE}, and announces that its payer has to act",
            "invoice.payment_failed": INVOICE,
            "invoice.upcoming": "applies the subscription that the invoice will be for",
            "invoice.voided": INVOICE,
        },
        billing_sync.apply,
    ),
    "entitlements": Handler(
        {"entitlements.active_entitlement_summary.updated": "stores the features that Stripe grants"},
        entitlements.apply,
        fetch_entitlements,
    ),
    "meter_errors": Handler(
        {
            "v1.billing.meter.error_report_triggered": "marks usage that Stripe could not count as rejected",
            "v1.billing.meter.no_meter_found": "logs and counts usage that Stripe has no meter for",
            "v2.core.health.event_generation_failure.resolved": "fetches what Stripe failed to send",
        },
        meter_errors.apply,
        fetch_error_report,
        has_tenant=False,
    ),
    "disputes_and_refunds": Handler(
        {
            "charge.dispute.closed": "announces how the dispute has ended",
            "charge.dispute.created": "announces that a payment is disputed",
            "charge.refunded": "announces how much of a payment was returned",
        },
        disputes.apply,
    ),
}


def thin_types() -> list[str]:
    """Return the types of events that have no snapshot."""
    types = {type_ for handler in HANDLERS.values() for type_ in handler.effects}
    return sorted(type_ for type_ in types if type_.startswith(THIN))


def handlers_of(event_type: str) -> list[str]:
    """Return the names of the handlers of a type of event."""
    names = {event_type, event_type.removeprefix("v1.")}
    return [name for name, handler in HANDLERS.items() if names & handler.effects.keys()]

"""Fetches the object of an event as Stripe has it now, so that the order of events does not matter."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

import stripe
from stripe import StripeClient

from billing_webhook.stripe_events.envelope import Envelope, Json, text

ERROR_REPORT = "v1.billing.meter.error_report_triggered"

Fetch = Callable[[StripeClient, Envelope], Awaitable[stripe.StripeObject | None]]


async def fetch_object(client: StripeClient, event: Envelope) -> stripe.StripeObject | None:
    """Return the object of an event, None if Stripe does not have it any more; raises StripeError."""
    kind, object_id = event.subject.kind, event.subject.id
    if kind == "invoice" and object_id is None:
        kind, object_id = "subscription", subscription_of(event.snapshot)
    if object_id is None:
        return None
    try:
        return await RETRIEVE[kind](client, object_id)
    except stripe.InvalidRequestError as error:
        if error.http_status == HTTPStatus.NOT_FOUND:
            return None
        raise


def subscription_of(invoice: Json) -> str | None:
    """Return the id of an invoice's subscription."""
    parent = invoice.get("parent")
    details = parent.get("subscription_details") if isinstance(parent, dict) else None
    return text(details, "subscription") if isinstance(details, dict) else None


async def fetch_subscription(client: StripeClient, subscription_id: str) -> stripe.StripeObject:
    """Return a subscription with its latest invoice, which says since when a payment is due."""
    return await client.v1.subscriptions.retrieve_async(subscription_id, {"expand": ["latest_invoice"]})


async def fetch_invoice(client: StripeClient, invoice_id: str) -> stripe.StripeObject:
    """Return an invoice with its payments, which say whether their payer has to act."""
    return await client.v1.invoices.retrieve_async(
        invoice_id, {"expand": ["payments.data.payment.payment_intent"]}
    )


async def fetch_customer(client: StripeClient, customer_id: str) -> stripe.StripeObject:
    """Return a customer; a deleted one is `deleted`."""
    return await client.v1.customers.retrieve_async(customer_id)


async def fetch_session(client: StripeClient, session_id: str) -> stripe.StripeObject:
    """Return the subscription that a checkout session has started, or else the session."""
    session = await client.v1.checkout.sessions.retrieve_async(session_id)
    if not isinstance(session.subscription, str):
        return session
    return await fetch_subscription(client, session.subscription)


async def fetch_charge(client: StripeClient, charge_id: str) -> stripe.StripeObject:
    """Return a charge."""
    return await client.v1.charges.retrieve_async(charge_id)


async def fetch_dispute(client: StripeClient, dispute_id: str) -> stripe.StripeObject:
    """Return a dispute with its charge, which names the customer."""
    return await client.v1.disputes.retrieve_async(dispute_id, {"expand": ["charge"]})


RETRIEVE: dict[str, Callable[[StripeClient, str], Awaitable[stripe.StripeObject]]] = {
    "subscription": fetch_subscription,
    "invoice": fetch_invoice,
    "customer": fetch_customer,
    "checkout.session": fetch_session,
    "charge": fetch_charge,
    "dispute": fetch_dispute,
}


async def fetch_entitlements(client: StripeClient, event: Envelope) -> stripe.StripeObject | None:
    """Return the features that Stripe grants a customer now."""
    customer = event.customer or event.subject.id
    if customer is None:
        return None
    return await client.v1.entitlements.active_entitlements.list_async({"customer": customer, "limit": 100})


async def fetch_error_report(client: StripeClient, event: Envelope) -> stripe.StripeObject | None:
    """Return the whole event of a meter's error report; its notification does not say what was wrong."""
    if event.type != ERROR_REPORT:
        return None
    try:
        return await client.v2.core.events.retrieve_async(event.id)
    except stripe.InvalidRequestError as error:
        if error.http_status == HTTPStatus.NOT_FOUND:
            return None
        raise

"""Checkout and portal sessions: Stripe's pages to subscribe, and to change cards and addresses."""

from typing import Any
from uuid import UUID

import stripe

from billing_webhook.models import Command
from billing_webhook.services import BillingServices
from billing_webhook.subscriptions import customers, prices

# A trial that ends without a card ends the subscription, and the tenant falls back to the free plan.
TRIAL_SETTINGS = {"end_behavior": {"missing_payment_method": "cancel"}}


def trial(command: Command) -> dict[str, Any]:
    """Return the parameters of the trial that a new subscription begins with."""
    days = command.facts["trial_days"]
    return {"trial_period_days": days, "trial_settings": TRIAL_SETTINGS} if days else {}


async def send(services: BillingServices, command: Command) -> stripe.checkout.Session:
    """Create a checkout session, and expire those before it: two that are completed are two subscriptions."""
    arguments = command.arguments
    plan = prices.paid_plan(arguments["plan_code"])
    customer = await customers.ensure(services, command)
    await expire_open(services, customer)
    tags = customers.tags(command)
    params: Any = {
        "mode": "subscription",
        "customer": customer,
        "client_reference_id": str(command.tenant_id),
        "line_items": await prices.first_items(services, plan, arguments["seat_count"]),
        "metadata": tags,
        "subscription_data": {"metadata": tags, **trial(command)},
        "success_url": arguments["success_url"],
        "cancel_url": arguments["cancel_url"],
    }
    options = {"idempotency_key": command.key("checkout")}
    return await services.stripe.v1.checkout.sessions.create_async(params, options)  # type: ignore[arg-type]  # a dict of the same keys


async def expire_open(services: BillingServices, customer: str) -> None:
    """Expire the sessions of a customer that are open."""
    sessions = services.stripe.v1.checkout.sessions
    for session in (await sessions.list_async({"customer": customer, "status": "open"})).data:
        await sessions.expire_async(session.id)


async def open_portal(services: BillingServices, tenant_id: UUID, return_url: str) -> str:
    """Return the address of Stripe's portal for a tenant; raises CustomerNotFound."""
    async with services.database.begin() as db:
        customer = await customers.require(db, tenant_id)
    params: Any = {"customer": customer.stripe_customer_id, "return_url": return_url}
    return (await services.stripe.v1.billing_portal.sessions.create_async(params)).url

"""Checkout and portal sessions: Stripe's pages to subscribe, and to change cards and addresses."""

from contextlib import suppress
from typing import Any
from uuid import UUID

import stripe
from servicekit.idempotency import IdempotencyConflict, IdempotencyInProgress, digest

from billing_webhook import audit
from billing_webhook.audit import Actor, AuditAction
from billing_webhook.models import Command
from billing_webhook.services import BillingServices
from billing_webhook.stripe_errors import to_problem
from billing_webhook.subscriptions import customers, prices, sync
from billing_webhook.subscriptions.errors import SubscriptionAlreadyExists
from billing_webhook.subscriptions.state import ENDED, metadata

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
    await require_no_other(services, command, customer)
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
        # One that was completed a moment ago has a subscription, which is found afterwards.
        with suppress(stripe.InvalidRequestError):
            await sessions.expire_async(session.id)


async def require_no_other(services: BillingServices, command: Command, customer: str) -> None:
    """Verify that nothing but this command has, or can get, a subscription for the customer.

    What was begun on a page of Stripe we hear of later. Raises SubscriptionAlreadyExists.
    """
    await expire_open(services, customer)
    params: Any = {"customer": customer, "limit": 100, "expand": ["data.latest_invoice"]}
    for subscription in (await services.stripe.v1.subscriptions.list_async(params)).data:
        if subscription.status not in ENDED and metadata(subscription).get("command_id") != str(command.id):
            async with services.database.begin() as db:
                await sync.apply_subscription(
                    db, command.tenant_id, subscription, price_map=services.price_map
                )
            raise SubscriptionAlreadyExists


async def open_portal(
    services: BillingServices, actor: Actor, tenant_id: UUID, return_url: str, idempotency_key: str | None
) -> str:
    """Return the address of Stripe's portal for a tenant; with the same key, the same address.

    Raises CustomerNotFound, IdempotencyConflict, IdempotencyInProgress or the problem for an error of Stripe.
    """
    async with services.database.begin() as db:
        customer = await customers.require(db, tenant_id)
    params: Any = {"customer": customer.stripe_customer_id, "return_url": return_url}
    options = portal_options(actor, tenant_id, idempotency_key)
    try:
        session = await services.stripe.v1.billing_portal.sessions.create_async(params, options)
    except stripe.IdempotencyError as error:
        is_in_use = error.code == "idempotency_key_in_use"
        raise (IdempotencyInProgress(retry_after=1) if is_in_use else IdempotencyConflict()) from error
    except stripe.StripeError as error:
        raise to_problem(error) from error
    async with services.database.begin() as db:
        audit.record(db, actor, AuditAction.PORTAL_OPENED, tenant_id=tenant_id)
    return session.url


def portal_options(actor: Actor, tenant_id: UUID, idempotency_key: str | None) -> Any:
    """Return Stripe's idempotency key for a client's: nobody gets the address of another caller."""
    if idempotency_key is None:
        return {}
    scope = digest("portal", str(tenant_id), actor.subject or "", idempotency_key)
    return {"idempotency_key": f"acme:portal:{scope.hex()}"}

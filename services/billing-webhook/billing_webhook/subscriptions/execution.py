"""What each kind of command asks of Stripe, and what comes of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import stripe
from pydantic import JsonValue
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.audit import AuditAction
from billing_webhook.models import Command, Subscription
from billing_webhook.plans.catalog import catalog
from billing_webhook.services import BillingServices
from billing_webhook.subscriptions import checkout, customers, prices, sync
from billing_webhook.subscriptions.errors import (
    SubscriptionAlreadyExists,
    SubscriptionNotFound,
    SubscriptionNotResumable,
)
from billing_webhook.subscriptions.state import metadata

Result = stripe.Subscription | stripe.checkout.Session
EXPAND = ["latest_invoice"]
# Billed at once and in part, and refused as a whole when the payment is.
PRORATION = "always_invoice"
REFUSE_UNPAID = "error_if_incomplete"
# What is remembered of a subscription while it is changed.
REMEMBERED = ("items", "plan_code", "seats", "status", "pause_behavior", "cancel_at_period_end")
# What of a command, and of the subscription before it, goes into the audit log: no address and no link.
AUDITED_ARGUMENTS = ("plan_code", "seat_count", "auto_renew", "at_period_end", "resumes_at")
AUDITED_STATE = ("plan_code", "seats", "status")


@dataclass(frozen=True)
class Kind:
    """A kind of command: its name in the audit log, preconditions and request, and how its effect is found.

    `find` finds it without a key, and is None where sending the command once more has no further effect.
    """

    action: AuditAction
    validate: Callable[[AsyncSession, Command], Awaitable[None]]
    send: Callable[[BillingServices, Command], Awaitable[Result]]
    find: Callable[[BillingServices, Command], Awaitable[Result | None]] | None = None


async def validate(db: AsyncSession, command: Command) -> None:
    """Verify that a command makes sense now, and remember what it is made of; raises what is wrong."""
    await KINDS[command.kind].validate(db, command)


async def send(services: BillingServices, command: Command) -> Result:
    """Send a command to Stripe; raises StripeError."""
    return await KINDS[command.kind].send(services, command)


async def find_effect(services: BillingServices, command: Command) -> Result | None:
    """Return what a command has brought about that was sent before; None if nothing."""
    find = KINDS[command.kind].find
    return await find(services, command) if find else None


async def apply(
    db: AsyncSession, services: BillingServices, command: Command, result: Result, fetched_at: datetime
) -> None:
    """Apply what Stripe has answered."""
    if isinstance(result, stripe.checkout.Session):
        command.facts = {**command.facts, "url": result.url}
        return
    await sync.apply_subscription(
        db, command.tenant_id, result, price_map=services.price_map, fetched_at=fetched_at
    )
    if isinstance(result.latest_invoice, stripe.Invoice):
        await sync.apply_invoice(db, command.tenant_id, result.latest_invoice)


def describe(command: Command) -> tuple[AuditAction, dict[str, JsonValue]]:
    """Return what a command has done, for the audit log."""
    arguments, facts = command.arguments, command.facts
    changed = {name: arguments[name] for name in AUDITED_ARGUMENTS if arguments.get(name) is not None}
    email = {"billing_email_changed": True} if arguments.get("billing_email") else {}
    before = {name: facts[name] for name in AUDITED_STATE if name in facts}
    return KINDS[command.kind].action, {
        "command_id": str(command.id),
        **changed,
        **email,
        **({"before": before} if before else {}),
    }


async def validate_start(db: AsyncSession, command: Command) -> None:
    """Verify that a subscription can begin, and decide on its trial: a tenant has one.

    Raises SubscriptionAlreadyExists, PlanNotFound or SeatLimitExceeded.
    """
    row = await sync.current(db, command.tenant_id)
    if row is not None and row.stripe_subscription_id is not None:
        raise SubscriptionAlreadyExists
    plan = prices.paid_plan(command.arguments["plan_code"])
    prices.require_seats(plan, command.arguments["seat_count"])
    before = select(Subscription.id).where(
        Subscription.tenant_id == command.tenant_id, Subscription.stripe_subscription_id.is_not(None)
    )
    had_one = await db.scalar(before.limit(1)) is not None
    command.facts = {"trial_days": 0 if had_one else plan.trial_days}


async def send_start(services: BillingServices, command: Command) -> Result:
    """Create the subscription; one without a payment method or a trial is refused."""
    arguments = command.arguments
    plan = prices.paid_plan(arguments["plan_code"])
    customer = await customers.ensure(services, command)
    await checkout.require_no_other(services, command, customer)
    await customers.set_email(services, command, customer)
    params: Any = {
        "customer": customer,
        "items": await prices.first_items(services, plan, arguments["seat_count"]),
        "metadata": customers.tags(command),
        "payment_behavior": REFUSE_UNPAID,
        "payment_settings": {"save_default_payment_method": "on_subscription"},
        "cancel_at_period_end": not arguments["auto_renew"],
        "expand": EXPAND,
        **checkout.trial(command),
    }
    return await services.stripe.v1.subscriptions.create_async(
        params, {"idempotency_key": command.key("subscription")}
    )


async def find_started(services: BillingServices, command: Command) -> Result | None:
    """Return the subscription that a command has created, found by its metadata."""
    async with services.database.begin() as db:
        customer = await customers.find(db, command.tenant_id)
    if customer is None:
        return None
    params: Any = {
        "customer": customer.stripe_customer_id,
        "status": "all",
        "limit": 100,
        "expand": ["data.latest_invoice"],
    }
    for subscription in (await services.stripe.v1.subscriptions.list_async(params)).data:
        if metadata(subscription).get("command_id") == str(command.id):
            return subscription
    return None


async def remember(db: AsyncSession, command: Command) -> Subscription:
    """Return the tenant's paid subscription, and remember its state; raises SubscriptionNotFound."""
    row = await sync.current(db, command.tenant_id)
    if row is None or row.stripe_subscription_id is None:
        raise SubscriptionNotFound
    command.facts = {"id": row.stripe_subscription_id, **{name: getattr(row, name) for name in REMEMBERED}}
    return row


async def validate_paid(db: AsyncSession, command: Command) -> None:
    """Verify that there is a paid subscription; raises SubscriptionNotFound."""
    await remember(db, command)


async def validate_change(db: AsyncSession, command: Command) -> None:
    """Verify that the plan has the seats; raises PlanNotFound, SeatLimitExceeded or SubscriptionNotFound."""
    row = await remember(db, command)
    arguments = command.arguments
    plan = prices.paid_plan(arguments["plan_code"] or row.plan_code)
    prices.require_seats(plan, arguments["seat_count"] or row.seats)


async def send_change(services: BillingServices, command: Command) -> Result:
    """Change the plan, the seats, whether it renews, and where invoices go."""
    arguments = command.arguments
    async with services.database.begin() as db:
        customer = await customers.require(db, command.tenant_id)
    await customers.set_email(services, command, customer.stripe_customer_id)
    params: dict[str, Any] = {}
    if arguments["plan_code"] or arguments["seat_count"]:
        params |= await plan_change(services, command.facts, arguments["plan_code"], arguments["seat_count"])
        params["payment_behavior"] = REFUSE_UNPAID
    if arguments["auto_renew"] is not None:
        params["cancel_at_period_end"] = not arguments["auto_renew"]
    return await update(services, command, params)


async def plan_change(
    services: BillingServices, facts: dict[str, Any], plan_code: str | None, seats: int | None
) -> dict[str, Any]:
    """Return the parameters that change plan and seats of a subscription."""
    plan = catalog().plan(plan_code or facts["plan_code"])
    items = await prices.changed_items(services, facts["items"], plan, seats or facts["seats"])
    return {"items": items, "proration_behavior": PRORATION}


async def send_cancel(services: BillingServices, command: Command) -> Result:
    """End the subscription at the end of its period, or at once with what is left of it as a credit."""
    if command.arguments["at_period_end"]:
        return await update(services, command, {"cancel_at_period_end": True})
    params: Any = {"invoice_now": True, "prorate": True, "expand": EXPAND}
    return await services.stripe.v1.subscriptions.cancel_async(
        command.facts["id"], params, {"idempotency_key": command.key("cancel")}
    )


async def find_canceled(services: BillingServices, command: Command) -> Result | None:
    """Return the subscription if it has been canceled for good."""
    found = await retrieve(services, command)
    return found if found.status == "canceled" else None


async def send_pause(services: BillingServices, command: Command) -> Result:
    """Stop collecting payments: invoices of the pause are void."""
    resumes_at = command.arguments["resumes_at"]
    pause: dict[str, Any] = {"behavior": "void", **({"resumes_at": resumes_at} if resumes_at else {})}
    return await update(services, command, {"pause_collection": pause})


async def validate_resume(db: AsyncSession, command: Command) -> None:
    """Verify that there is something to resume; raises SubscriptionNotResumable."""
    row = await remember(db, command)
    if not (row.cancel_at_period_end or row.pause_behavior or row.status == "paused"):
        raise SubscriptionNotResumable


async def send_resume(services: BillingServices, command: Command) -> Result:
    """Withdraw a cancellation, end a pause, or both."""
    facts = command.facts
    if facts["status"] == "paused":
        params: Any = {"billing_cycle_anchor": "now", "expand": EXPAND}
        return await services.stripe.v1.subscriptions.resume_async(
            facts["id"], params, {"idempotency_key": command.key("resume")}
        )
    ended_pause = {"pause_collection": ""} if facts["pause_behavior"] else {}
    renewal = {"cancel_at_period_end": False} if facts["cancel_at_period_end"] else {}
    return await update(services, command, {**ended_pause, **renewal})


async def update(services: BillingServices, command: Command, params: dict[str, Any]) -> Result:
    """Update a subscription at Stripe, or read it where there is nothing to update."""
    if not params:
        return await retrieve(services, command)
    expanded: Any = {**params, "expand": EXPAND}
    return await services.stripe.v1.subscriptions.update_async(
        command.facts["id"], expanded, {"idempotency_key": command.key("update")}
    )


async def retrieve(services: BillingServices, command: Command) -> stripe.Subscription:
    """Read the subscription that a command is for."""
    return await services.stripe.v1.subscriptions.retrieve_async(command.facts["id"], {"expand": EXPAND})


KINDS = {
    "start": Kind(AuditAction.SUBSCRIPTION_STARTED, validate_start, send_start, find_started),
    "change": Kind(AuditAction.SUBSCRIPTION_CHANGED, validate_change, send_change),
    "cancel": Kind(AuditAction.SUBSCRIPTION_CANCELED, validate_paid, send_cancel, find_canceled),
    "pause": Kind(AuditAction.SUBSCRIPTION_PAUSED, validate_paid, send_pause),
    "resume": Kind(AuditAction.SUBSCRIPTION_RESUMED, validate_resume, send_resume),
    "checkout": Kind(AuditAction.CHECKOUT_CREATED, validate_start, checkout.send),
}

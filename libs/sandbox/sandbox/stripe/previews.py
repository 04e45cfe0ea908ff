"""Previews: what the next invoice would be, also after a change that is not made."""

from sandbox.stripe.billing import draft, period_of, unused_time_lines
from sandbox.stripe.errors import StripeError, missing_param
from sandbox.stripe.invoices import assemble
from sandbox.stripe.objects import Params, StripeObject
from sandbox.stripe.renewals import upcoming
from sandbox.stripe.store import Store
from sandbox.stripe.subscription_changes import plan_change
from sandbox.stripe.subscription_items import items_list
from sandbox.stripe.subscription_status import ENDED
from sandbox.stripe.subscriptions import build_subscription, first_lines

PREVIEW = (
    "customer currency preview_mode subscription subscription_details.billing_cycle_anchor "
    "subscription_details.cancel_at_period_end subscription_details.cancel_now subscription_details.items.id "
    "subscription_details.items.price subscription_details.items.quantity subscription_details.items.deleted "
    "subscription_details.proration_behavior "
    "subscription_details.proration_date subscription_details.trial_end"
)


def preview_invoice(store: Store, params: Params) -> StripeObject:
    """Return the next invoice of a subscription, or the first of one that is not created."""
    details = params.get("subscription_details", {})
    if "subscription" not in params and details.get("items"):
        return _present(_of_new(store, params, details), details)
    subscription = _subscription(store, params)
    if subscription["status"] in ENDED:
        raise _none_upcoming(subscription["customer"])
    invoice = _of_subscription(store, subscription, details)
    if not invoice["lines"]["data"]:
        raise _none_upcoming(subscription["customer"])
    return _present(invoice, details)


def _subscription(store: Store, params: Params) -> StripeObject:
    """Return the subscription that is asked for, or the customer's that renews first."""
    if "subscription" in params:
        return store.get("subscription", params["subscription"], "subscription")
    if "customer" not in params:
        raise missing_param("customer")
    customer = store.get("customer", params["customer"], "customer")
    living = [
        each for each in store.where("subscription", customer=customer["id"]) if each["status"] not in ENDED
    ]
    if not living:
        raise _none_upcoming(customer["id"])
    return min(living, key=lambda each: period_of(each)[1])


def _none_upcoming(customer_id: str) -> StripeError:
    return StripeError(
        f"No upcoming invoices for customer: {customer_id}", "invoice_upcoming_none", status=404
    )


def _of_new(store: Store, params: Params, details: Params) -> StripeObject:
    if "customer" not in params:
        raise missing_param("customer")
    subscription = build_subscription(
        store,
        {
            "customer": params["customer"],
            "items": details["items"],
            **({"trial_end": details["trial_end"]} if "trial_end" in details else {}),
        },
    )
    invoice = draft(store, subscription, first_lines(store, subscription, details), "subscription_create")
    invoice["parent"]["subscription_details"]["subscription"] = None
    return invoice


def _of_subscription(store: Store, subscription: StripeObject, details: Params) -> StripeObject:
    if details.get("cancel_now"):
        now = int(details.get("proration_date", store.now()))
        lines = unused_time_lines(store, subscription, now)
        return draft(store, subscription, lines, "upcoming", period_of(subscription))
    change = plan_change(store, subscription, details)
    if change.restarts or details.get("proration_behavior") == "always_invoice":
        return draft(store, subscription, change.lines, "upcoming", period_of(subscription))
    after = {
        **subscription,
        "items": items_list(subscription["id"], change.items),
        "billing_cycle_anchor": change.anchor,
        "cancel_at_period_end": details.get("cancel_at_period_end", subscription["cancel_at_period_end"]),
    }
    renewal = upcoming(store, after)
    if subscription["status"] == "paused":
        renewal["lines"]["data"] = []
    lines = [*change.prorations, *renewal["lines"]["data"]]
    period = (renewal["period_start"], renewal["period_end"])
    return assemble(store, after, lines, "upcoming", period)


def _present(invoice: StripeObject, details: Params) -> StripeObject:
    invoice["id"] = "upcoming_" + invoice["id"]
    if (parent := invoice["parent"]) and "proration_date" in details:
        parent["subscription_details"]["subscription_proration_date"] = details["proration_date"]
    invoice["next_payment_attempt"] = invoice["period_end"]
    return invoice

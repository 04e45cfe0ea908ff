"""What time does to subscriptions: trials end, periods renew, and those that are to end, end."""

from sandbox.stripe.billing import advance_lines, bill, draft, items_of, period_of, usage_lines
from sandbox.stripe.entitlements import refresh_entitlements
from sandbox.stripe.objects import StripeObject, public
from sandbox.stripe.payments import method_for
from sandbox.stripe.periods import period_end
from sandbox.stripe.store import Store
from sandbox.stripe.subscription_status import end_subscription, pause_status


def renew(store: Store, subscription: StripeObject) -> None:
    """Start the next period, or end the subscription if it is to end now."""
    start, end = period_of(subscription)
    if subscription["cancel_at_period_end"]:
        finish(store, subscription)
        return
    was_trial = subscription["status"] == "trialing"
    if was_trial and not _can_start_paying(store, subscription):
        return
    items = items_of(subscription)
    recurring = items[0]["price"]["recurring"]
    next_end = period_end(subscription["billing_cycle_anchor"], recurring, end)
    with store.updating(subscription, "customer.subscription.updated"):
        # What is used during a trial is free.
        usage = [] if was_trial else usage_lines(store, subscription, start, end)
        for item in items:
            item |= {"current_period_start": end, "current_period_end": next_end}
        if was_trial:
            subscription["status"] = "active"
        lines = [*advance_lines(store, items, end, next_end), *usage]
        invoice = bill(store, subscription, lines, "subscription_cycle", (start, end))
        if subscription["status"] == "unpaid":
            invoice["auto_advance"] = False
        else:
            invoice["automatically_finalizes_at"] = store.now() + store.rules.finalize_after
    refresh_entitlements(store, subscription["customer"])


def _can_start_paying(store: Store, subscription: StripeObject) -> bool:
    """Do what was chosen for a trial that ends without a card; True if it is to be billed all the same."""
    invoice = {"customer": subscription["customer"], "default_payment_method": None}
    if method_for(store, invoice, subscription):
        return True
    behavior = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    if behavior == "cancel":
        end_subscription(store, subscription, "requested")
    elif behavior == "pause":
        pause_status(store, subscription, "trial_end_without_payment_method")
    return bool(behavior == "create_invoice")


def finish(store: Store, subscription: StripeObject) -> None:
    """End a subscription at the time that was chosen, and bill the usage that is left."""
    start, _ = period_of(subscription)
    is_trial = subscription["status"] == "trialing"
    lines = [] if is_trial else usage_lines(store, subscription, start, store.now())
    end_subscription(store, subscription, "requested")
    if any(line["amount"] for line in lines):
        invoice = bill(store, subscription, lines, "subscription_cycle", (start, store.now()))
        invoice["automatically_finalizes_at"] = store.now() + store.rules.finalize_after


def announce_trial_end(store: Store, subscription: StripeObject) -> None:
    """Publish that a trial will end in three days, or sooner."""
    subscription["_trial_end_announced"] = True
    store.emit("customer.subscription.trial_will_end", subscription)


def announce_invoice(store: Store, subscription: StripeObject) -> None:
    """Publish what the next invoice will be; it has no id yet."""
    _, end = period_of(subscription)
    subscription["_announced_period"] = end
    store.emit("invoice.upcoming", {**public(upcoming(store, subscription)), "id": None})


def upcoming(store: Store, subscription: StripeObject) -> StripeObject:
    """Return the next renewal's invoice as it would be by now."""
    start, end = period_of(subscription)
    items = items_of(subscription)
    next_end = period_end(subscription["billing_cycle_anchor"], items[0]["price"]["recurring"], end)
    ends = subscription["cancel_at_period_end"]
    lines = [] if ends else advance_lines(store, items, end, next_end)
    is_trial = subscription["status"] == "trialing"
    usage = [] if is_trial else usage_lines(store, subscription, start, end)
    return draft(store, subscription, [*lines, *usage], "upcoming", (start, end))


def expire_first_payment(store: Store, subscription: StripeObject) -> None:
    """End a subscription whose first invoice nobody has paid."""
    end_subscription(store, subscription, "expired")


def resume_collection(store: Store, subscription: StripeObject) -> None:
    """Collect again from the date that was given when collection was paused."""
    with store.updating(subscription, "customer.subscription.updated"):
        subscription["pause_collection"] = None

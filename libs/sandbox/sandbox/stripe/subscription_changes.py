"""What a change of a subscription does: its items from then on, prorations, perhaps a new period."""

import copy
from dataclasses import dataclass

from sandbox.stripe.billing import advance_lines, items_of, period_of, usage_lines
from sandbox.stripe.errors import StripeError, missing_object
from sandbox.stripe.lines import proration_lines
from sandbox.stripe.objects import Params, StripeObject, merge_metadata
from sandbox.stripe.periods import add_periods
from sandbox.stripe.store import Store
from sandbox.stripe.subscription_items import build_item, check_items, interval_of, set_price, set_quantity

# Of these, the current period was or will be charged for; what is left of it is worth something.
_PAID_FOR = frozenset({"active", "past_due", "unpaid"})


@dataclass(frozen=True)
class Change:
    """A change before it is made."""

    items: list[StripeObject]
    prorations: list[StripeObject]
    new_period: list[StripeObject]  # the lines of a period that starts now
    restarts: bool
    trial_end: int | None
    anchor: int

    @property
    def lines(self) -> list[StripeObject]:
        """All lines."""
        return [*self.prorations, *self.new_period]


def plan_change(store: Store, subscription: StripeObject, params: Params) -> Change:
    """Compute a change without making it."""
    now = store.now()
    old = items_of(subscription)
    new = changed_items(store, subscription, params.get("items", []))
    check_items(new)
    moment = _proration_date(subscription, params, now)
    is_trial = subscription["status"] == "trialing"
    is_paid_for = subscription["status"] in _PAID_FOR
    prorates = params.get("proration_behavior", "create_prorations") != "none" and is_paid_for
    trial_end = new_trial_end(params, now)
    if trial_end:
        prorations = _credits(store, old, moment) if prorates else []
        _move_period(new, now, trial_end)
        return Change(new, prorations, [], False, trial_end, trial_end)
    if _restarts(subscription, params, new):
        start, end = now, add_periods(now, new[0]["price"]["recurring"], 1)
        _move_period(new, start, end)
        prorations = _credits(store, old, moment) if prorates else []
        usage = [] if is_trial else usage_lines(store, subscription, period_of(subscription)[0], now)
        lines = [*usage, *advance_lines(store, new, start, end)]
        return Change(new, prorations, lines, True, None, now)
    trial_end = subscription["trial_end"] if is_trial else None
    lines = prorations_of(store, old, new, moment) if prorates else []
    return Change(new, lines, [], False, trial_end, subscription["billing_cycle_anchor"])


def _restarts(subscription: StripeObject, params: Params, new: list[StripeObject]) -> bool:
    anchor = params.get("billing_cycle_anchor", {})
    ends_trial = params.get("trial_end") == "now" and subscription["status"] == "trialing"
    changes_interval = interval_of(items_of(subscription)[0]) != interval_of(new[0])
    is_trial = subscription["status"] == "trialing"
    return ends_trial or anchor.get("type") == "now" or (changes_interval and not is_trial)


def new_trial_end(params: Params, now: int) -> int | None:
    """Return the end of the trial that the parameters name; None: it ends now, or there is none."""
    trial_end = params.get("trial_end", "now")
    if trial_end == "now":
        return None
    if trial_end <= now:
        message = "Invalid timestamp: must be an integer Unix timestamp in the future."
        raise StripeError(message, "invalid_trial_end", "trial_end")
    return int(trial_end)


def _proration_date(subscription: StripeObject, params: Params, now: int) -> int:
    moment = int(params.get("proration_date", now))
    start, end = period_of(subscription)
    if "proration_date" in params and not start <= moment <= end:
        message = "Cannot specify proration_date outside of current billing period."
        raise StripeError(message, "invalid_proration_date", "proration_date")
    return moment


def changed_items(store: Store, subscription: StripeObject, changes: list[Params]) -> list[StripeObject]:
    """Return a subscription's items with these changes."""
    items = {item["id"]: _copy(item) for item in items_of(subscription)}
    for position, change in enumerate(changes):
        if "id" not in change:
            added = build_item(store, subscription["id"], change, position, period_of(subscription))
            items[added["id"]] = added
            continue
        if change["id"] not in items:
            raise missing_object("subscription_item", change["id"], f"items[{position}][id]")
        if change.get("deleted"):
            del items[change["id"]]
        else:
            _apply(store, items[change["id"]], change, position)
    return list(items.values())


def _copy(item: StripeObject) -> StripeObject:
    # Not of the price, which stays the one that is stored.
    return {**copy.copy(item), "metadata": dict(item["metadata"])}


def _apply(store: Store, item: StripeObject, change: Params, position: int) -> None:
    if "price" in change and change["price"] != item["price"]["id"]:
        set_price(store, item, change["price"], position)
    set_quantity(item, change, position)
    if "metadata" in change:
        item["metadata"] = merge_metadata(item["metadata"], change["metadata"])


def prorations_of(
    store: Store, old: list[StripeObject], new: list[StripeObject], moment: int
) -> list[StripeObject]:
    """Return credits and charges for all items that differ."""
    before, after = ({item["id"]: item for item in items} for items in (old, new))
    return [
        line
        for item_id in {**before, **after}
        for line in proration_lines(store, before.get(item_id), after.get(item_id), moment)
    ]


def _credits(store: Store, items: list[StripeObject], moment: int) -> list[StripeObject]:
    return [line for item in items for line in proration_lines(store, item, None, moment)]


def _move_period(items: list[StripeObject], start: int, end: int) -> None:
    for item in items:
        item |= {"current_period_start": start, "current_period_end": end}

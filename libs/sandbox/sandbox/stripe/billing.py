"""Billing subscriptions: which lines an invoice has, and making it."""

from sandbox.stripe.invoice_items import line_of, pending_items
from sandbox.stripe.invoices import assemble, create_invoice
from sandbox.stripe.lines import advance_line, is_metered, proration_lines, usage_line
from sandbox.stripe.objects import Lines, Period, StripeObject
from sandbox.stripe.store import Store


def items_of(subscription: StripeObject) -> list[StripeObject]:
    """Return a subscription's items."""
    items: list[StripeObject] = subscription["items"]["data"]
    return items


def period_of(subscription: StripeObject) -> tuple[int, int]:
    """Return the current period, which all items share."""
    first = items_of(subscription)[0]
    return first["current_period_start"], first["current_period_end"]


def advance_lines(
    store: Store, items: list[StripeObject], start: int, end: int, *, trial: bool = False
) -> list[StripeObject]:
    """Return the lines for the licensed items' coming period."""
    return [advance_line(store, item, start, end, trial=trial) for item in items if not is_metered(item)]


def usage_lines(store: Store, subscription: StripeObject, start: int, end: int) -> list[StripeObject]:
    """Return the lines for the metered items' usage in this time."""
    return [
        usage_line(store, item, subscription["customer"], start, end)
        for item in items_of(subscription)
        if is_metered(item)
    ]


def unused_time_lines(store: Store, subscription: StripeObject, moment: int) -> Lines:
    """Return the credit for what is left of the period at this moment."""
    return [line for item in items_of(subscription) for line in proration_lines(store, item, None, moment)]


def draft(
    store: Store, subscription: StripeObject, lines: Lines, reason: str, period: Period | None = None
) -> StripeObject:
    """Return an invoice with these lines and with what waits for it, without storing it."""
    waiting = pending_items(store, subscription["customer"], subscription["id"])
    return assemble(store, subscription, [*lines, *map(line_of, waiting)], reason, period)


def bill(
    store: Store, subscription: StripeObject, lines: Lines, reason: str, period: Period | None = None
) -> StripeObject:
    """Store an invoice with these lines and with what waits for it, as a draft."""
    waiting = pending_items(store, subscription["customer"], subscription["id"])
    invoice = assemble(store, subscription, [*lines, *map(line_of, waiting)], reason, period)
    invoice["_base_url"] = store.context.base_url or subscription.get("_base_url", "")
    for item in waiting:
        item["invoice"] = invoice["id"]
    return create_invoice(store, invoice)

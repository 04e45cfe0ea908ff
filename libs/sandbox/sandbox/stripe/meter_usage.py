"""What meters have counted."""

from decimal import Decimal

from sandbox.stripe.objects import StripeObject
from sandbox.stripe.store import Store

EMPTY = Decimal(0)


def events_of(store: Store, meter_id: str, customer: str) -> list[StripeObject]:
    """Return the events that count for a customer."""
    return [event for event in store.usage.get(meter_id, {}).get(customer, ()) if not event["canceled"]]


def usage_total(store: Store, meter_id: str, customer: str, start: int, end: int) -> Decimal:
    """Return a customer's usage from `start` until before `end`, aggregated as the meter says."""
    meter = store.table("billing.meter")[meter_id]
    events = [event for event in events_of(store, meter_id, customer) if start <= event["timestamp"] < end]
    return aggregate(meter["default_aggregation"]["formula"], events)


def aggregate(formula: str, events: list[StripeObject]) -> Decimal:
    """Return the sum, the number or the last of the values."""
    if formula == "count":
        return Decimal(len(events))
    if formula == "last":
        latest = max(events, key=lambda event: (event["timestamp"], event["order"]), default=None)
        return Decimal(latest["value"]) if latest else EMPTY
    return sum((Decimal(event["value"]) for event in events), EMPTY)

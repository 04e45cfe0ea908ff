"""What Stripe's meters have counted."""

from datetime import datetime
from decimal import Decimal

from stripe import StripeClient

MINUTE = 60


async def meter_total(
    client: StripeClient, customer: str, event_name: str, start: datetime, end: datetime
) -> Decimal | None:
    """Return what Stripe has counted in a period, by whole minutes; None if it has no such meter.

    The minute in which a period ends belongs to the next one.
    """
    meters = await client.v1.billing.meters.list_async({"status": "active", "limit": 100})
    async for own in meters.auto_paging_iter():
        if own.event_name == event_name:
            summaries = await client.v1.billing.meters.event_summaries.list_async(
                own.id,
                {"customer": customer, "start_time": to_minute(start), "end_time": to_minute(end)},
            )
            # Stripe's documents have a number here; its text is exact.
            return sum((Decimal(str(each.aggregated_value)) for each in summaries.data), Decimal(0))
    return None


def to_minute(time: datetime) -> int:
    """Return the start of a minute, as Stripe writes it."""
    return int(time.timestamp()) // MINUTE * MINUTE

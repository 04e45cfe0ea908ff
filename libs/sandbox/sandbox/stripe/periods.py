"""Billing periods: calendar months and years from an anchor, in UTC."""

import calendar
from datetime import UTC, datetime, timedelta

from sandbox.stripe.objects import StripeObject

_MONTHS = {"month": 1, "year": 12}
_DAYS = {"day": 1, "week": 7}


def period_end(anchor: int, recurring: StripeObject, after: int) -> int:
    """Return the first end of a period, counted from the anchor, that is later than `after`."""
    count = 1 if after < anchor else _periods_between(anchor, recurring, after)
    while add_periods(anchor, recurring, count) <= after:
        count += 1
    while count > 1 and add_periods(anchor, recurring, count - 1) > after:
        count -= 1
    return add_periods(anchor, recurring, count)


def period_start(anchor: int, recurring: StripeObject, end: int) -> int:
    """Return the start of the period that ends then."""
    count = _periods_between(anchor, recurring, end)
    while add_periods(anchor, recurring, count) >= end:
        count -= 1
    return add_periods(anchor, recurring, count)


def add_periods(anchor: int, recurring: StripeObject, count: int) -> int:
    """Return the end of the count-th period: the anchor's day of the month, or the month's last day."""
    start = datetime.fromtimestamp(anchor, UTC)
    steps = count * int(recurring["interval_count"])
    if days := _DAYS.get(recurring["interval"]):
        return int((start + timedelta(days=days * steps)).timestamp())
    months = start.year * 12 + start.month - 1 + _MONTHS[recurring["interval"]] * steps
    year, month = divmod(months, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())


def _periods_between(anchor: int, recurring: StripeObject, moment: int) -> int:
    """Return about how many whole periods lie between; never more than one too many or too few."""
    days = _DAYS.get(recurring["interval"]) or _MONTHS[recurring["interval"]] * 30.44
    return max(1, int((moment - anchor) / (days * 86_400 * int(recurring["interval_count"]))))

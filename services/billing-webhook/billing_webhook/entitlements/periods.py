"""Periods: derived from the time alone, so that a counter resets without anybody's doing."""

import calendar
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

Interval = Literal["day", "month", "period"]


class Period(NamedTuple):
    """A time span in UTC; the end is exclusive."""

    start: datetime
    end: datetime


def add_months(time: datetime, months: int) -> datetime:
    """Return the same day some months later, or the last day of a month that is shorter."""
    year, month = divmod(time.year * 12 + time.month - 1 + months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return time.replace(year=year, month=month + 1, day=min(time.day, last))


def start_of_day(time: datetime) -> datetime:
    """Return the start of a day (UTC)."""
    return time.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def start_of_month(time: datetime) -> datetime:
    """Return the start of a calendar month (UTC)."""
    return start_of_day(time).replace(day=1)


def day_of(time: datetime) -> Period:
    """Return the day of a time."""
    start = start_of_day(time)
    return Period(start, start + timedelta(days=1))


def month_of(time: datetime) -> Period:
    """Return the calendar month of a time."""
    start = start_of_month(time)
    return Period(start, add_months(start, 1))


def anchored_period(anchor: datetime, time: datetime, months: int = 1) -> Period:
    """Return the period of a time, of those that begin at the anchor and every so many months."""
    anchor = anchor.astimezone(UTC)
    passed = (time.year - anchor.year) * 12 + time.month - anchor.month
    number = passed // months
    if add_months(anchor, number * months) > time:
        number -= 1
    return Period(add_months(anchor, number * months), add_months(anchor, (number + 1) * months))

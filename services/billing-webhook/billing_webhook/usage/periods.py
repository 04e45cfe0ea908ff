"""The period that a record counts in."""

from datetime import datetime, timedelta
from typing import NamedTuple

from billing_webhook.entitlements.plan import TenantPlans

# How long after its end a period takes records that are late; the grace time of Stripe's invoices is at most
# this long.
GRACE_PERIOD = timedelta(hours=24)


class AssignedPeriod(NamedTuple):
    """The period that a record counts in, by the names of the record's columns."""

    period_start: datetime
    is_adjustment: bool
    subscription_id: str | None


def assign_period(plans: TenantPlans, occurred_at: datetime, now: datetime) -> AssignedPeriod:
    """Return the period in which something occurred, or the current one when that is closed."""
    then = plans.at(occurred_at)
    if now < then.period.end + GRACE_PERIOD:
        return AssignedPeriod(then.period.start, is_adjustment=False, subscription_id=then.subscription_id)
    current = plans.at(now)
    return AssignedPeriod(current.period.start, is_adjustment=True, subscription_id=current.subscription_id)

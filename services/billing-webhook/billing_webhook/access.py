"""What a tenant may do with its subscription: a pure function of its state and the time.

A failed payment leaves full access for a grace period, then reading alone, until Stripe gives the payment up.
What has ended, was never paid or is unpaid is the free plan.
"""

from datetime import datetime, timedelta
from enum import StrEnum

from billing_webhook.models import Subscription

GRACE_PERIOD = timedelta(days=7)
# Within this time after the end of a trial, Stripe ends or bills the subscription.
TRIAL_SETTLEMENT = timedelta(hours=1)
PAID_STATUSES = frozenset({"active", "trialing", "past_due"})


class Access(StrEnum):
    """How much of a plan may be used."""

    FULL = "full"
    # What is there may be read; nothing that costs is begun.
    READ_ONLY = "read_only"
    # The free plan's limits, whatever the plan.
    FREE = "free"


class AccessReason(StrEnum):
    """Why a subscription gives the access that it gives."""

    # Paid, in its trial, or the free plan.
    PAID = "paid"
    # A payment has failed, and its grace period has not ended.
    PAYMENT_DUE = "payment_due"
    PAYMENT_OVERDUE = "payment_overdue"
    # Stripe has given the payment up.
    UNPAID = "unpaid"
    PAUSED = "paused"
    # The trial ended without a payment method, and with it the subscription; or it is paused for that.
    TRIAL_ENDED = "trial_ended"
    TRIAL_PAUSED = "trial_paused"
    # The first payment was never made.
    INCOMPLETE = "incomplete"
    ENDED = "ended"


ACCESS = {
    AccessReason.PAID: Access.FULL,
    AccessReason.PAYMENT_DUE: Access.FULL,
    AccessReason.PAYMENT_OVERDUE: Access.READ_ONLY,
    AccessReason.UNPAID: Access.FREE,
    AccessReason.PAUSED: Access.READ_ONLY,
    AccessReason.TRIAL_ENDED: Access.FREE,
    AccessReason.TRIAL_PAUSED: Access.READ_ONLY,
    AccessReason.INCOMPLETE: Access.FREE,
    AccessReason.ENDED: Access.FREE,
}
# By Stripe's status alone. One that Stripe does not have yet is not paid for, either.
REASONS = {
    "active": AccessReason.PAID,
    "trialing": AccessReason.PAID,
    "paused": AccessReason.TRIAL_PAUSED,
    "unpaid": AccessReason.UNPAID,
    "canceled": AccessReason.ENDED,
}


def access_at(subscription: Subscription, time: datetime) -> Access:
    """Return the access that a subscription gives at a time."""
    return ACCESS[access_reason_at(subscription, time)]


def access_reason_at(subscription: Subscription, time: datetime) -> AccessReason:
    """Return why a subscription gives the access that it gives at a time."""
    if any(end is not None and end <= time for end in (subscription.ended_at, subscription.cancel_at)):
        return reason_of_end(subscription)
    if subscription.status in PAID_STATUSES and is_paused(subscription, time):
        return AccessReason.PAUSED
    if subscription.status == "past_due":
        is_overdue = (due := grace_end(subscription)) is not None and due <= time
        return AccessReason.PAYMENT_OVERDUE if is_overdue else AccessReason.PAYMENT_DUE
    return REASONS.get(subscription.status, AccessReason.INCOMPLETE)


def reason_of_end(subscription: Subscription) -> AccessReason:
    """Return why a subscription has ended: by a trial without a payment method, or otherwise."""
    if subscription.status in {"incomplete", "incomplete_expired"}:
        return AccessReason.INCOMPLETE
    trial_end, ended_at = subscription.trial_end, subscription.ended_at
    is_canceled = subscription.cancel_at_period_end or subscription.cancel_at is not None
    if is_canceled or trial_end is None or ended_at is None:
        return AccessReason.ENDED
    is_trial = trial_end <= ended_at < trial_end + TRIAL_SETTLEMENT
    return AccessReason.TRIAL_ENDED if is_trial else AccessReason.ENDED


def is_paused(subscription: Subscription, time: datetime) -> bool:
    """Return whether the collection of payments is paused."""
    resumes_at = subscription.pause_resumes_at
    return subscription.pause_behavior is not None and (resumes_at is None or resumes_at > time)


def grace_end(subscription: Subscription) -> datetime | None:
    """Return when the grace period of a payment that is due ends."""
    since = subscription.past_due_since
    return since + GRACE_PERIOD if subscription.status == "past_due" and since is not None else None


def next_access_change(subscription: Subscription, time: datetime) -> datetime | None:
    """Return when time alone changes the access of a subscription next, if at all."""
    if subscription.ended_at is not None:
        return None
    moments = (subscription.cancel_at, subscription.pause_resumes_at, grace_end(subscription))
    return min((moment for moment in moments if moment is not None and moment > time), default=None)

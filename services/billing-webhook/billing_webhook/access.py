"""What a tenant may do with its subscription: a pure function of its status and the time.

A failed payment leaves full access for a grace period, then reading alone, until Stripe gives the payment up.
What has ended, was never paid or is unpaid is the free plan.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from billing_webhook.models import Subscription

GRACE_PERIOD = timedelta(days=7)
PAID_STATUSES = frozenset({"active", "trialing", "past_due"})


class Access(StrEnum):
    """How much of a plan may be used."""

    FULL = "full"
    # What is there may be read; nothing that costs is begun.
    READ_ONLY = "read_only"
    # The free plan's limits, whatever the plan.
    FREE = "free"


@dataclass(frozen=True, kw_only=True)
class AccessState:
    """The parts of a subscription that decide on access."""

    status: str
    trial_end: datetime | None = None
    cancel_at: datetime | None = None
    pause_behavior: str | None = None
    pause_resumes_at: datetime | None = None
    past_due_since: datetime | None = None
    ended_at: datetime | None = None


def access_at(subscription: Subscription, time: datetime) -> Access:
    """Return the access that a stored subscription gives at a time."""
    state = AccessState(
        status=subscription.status,
        trial_end=subscription.trial_end,
        cancel_at=subscription.cancel_at,
        pause_behavior=subscription.pause_behavior,
        pause_resumes_at=subscription.pause_resumes_at,
        past_due_since=subscription.past_due_since,
        ended_at=subscription.ended_at,
    )
    return access(state, time)


def access(state: AccessState, now: datetime) -> Access:
    """Return the access that a subscription gives at a time."""
    is_over = any(time is not None and time <= now for time in (state.ended_at, state.cancel_at))
    if is_over or state.status not in PAID_STATUSES | {"paused"}:
        return Access.FREE
    if is_paused(state, now) or is_past_grace(state, now):
        return Access.READ_ONLY
    return Access.FULL


def is_paused(state: AccessState, now: datetime) -> bool:
    """Return whether a subscription is paused: by its owner, or by a trial that ended without a card."""
    if state.status == "paused":
        return True
    is_resumed = state.pause_resumes_at is not None and state.pause_resumes_at <= now
    return state.pause_behavior is not None and not is_resumed


def is_past_grace(state: AccessState, now: datetime) -> bool:
    """Return whether a payment is due for longer than the grace period."""
    since = state.past_due_since
    return state.status == "past_due" and since is not None and now - since >= GRACE_PERIOD

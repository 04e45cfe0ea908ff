"""What follows from a failure: another attempt, after which pause, or none."""

import traceback
from dataclasses import dataclass

import stripe
from servicekit.backoff import exponential, jittered
from servicekit.errors import ServiceError
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError

from billing_webhook.models import StripeDispatch
from billing_webhook.stripe_events.tenants import CustomerUnmapped, TenantMismatch
from billing_webhook.subscriptions.sync import SecondSubscription

# Our own commit may be about to follow: the customer or the end of the subscription before it.
SHORT_PAUSES = (1.0, 2.0, 5.0, 15.0, 60.0)
UNMAPPED_PAUSE, MAX_UNMAPPED_WAITS = 300.0, len(SHORT_PAUSES) + 12
# 12 attempts within about a day.
MAX_ATTEMPTS = 12
FIRST_PAUSE, LONGEST_PAUSE, FACTOR = 10.0, 8 * 3600.0, 2.5
# A failure of our own code does not go away by itself.
MAX_POISON_ATTEMPTS = 3
MAX_ERROR = 500
# Besides what Stripe itself says: conflicts, limits, and a key that is being replaced.
RETRIED_STATUSES = frozenset({401, 403, 409, 429})


@dataclass(frozen=True)
class Outcome:
    """What becomes of a dispatch; without a pause only an operator starts it again."""

    status: str
    error: str
    pause: float | None = None
    # Whether the attempt does not count.
    is_wait: bool = False


def outcome_of(error: Exception, dispatch: StripeDispatch) -> Outcome:
    """Return what becomes of a dispatch that has failed."""
    reason = describe(error)
    if isinstance(error, TenantMismatch):
        return Outcome("dead", reason)
    if isinstance(error, CustomerUnmapped):
        return unmapped(reason, dispatch.waits)
    if isinstance(error, SecondSubscription) and dispatch.waits < len(SHORT_PAUSES):
        return Outcome("failed", reason, SHORT_PAUSES[dispatch.waits], is_wait=True)
    if dispatch.attempts >= max_attempts(error):
        return Outcome("dead", reason)
    pause = jittered(exponential(dispatch.attempts, FIRST_PAUSE, LONGEST_PAUSE, FACTOR))
    return Outcome("failed", reason, pause)


def unmapped(reason: str, waits: int) -> Outcome:
    """Wait for the customer's tenant, for an hour; then until an operator has seen to it."""
    if waits >= MAX_UNMAPPED_WAITS:
        return Outcome("unmapped", reason)
    pause = SHORT_PAUSES[waits] if waits < len(SHORT_PAUSES) else UNMAPPED_PAUSE
    return Outcome("unmapped", reason, pause, is_wait=True)


def max_attempts(error: Exception) -> int:
    """Return how often something that fails in this way is tried."""
    if isinstance(error, stripe.StripeError):
        return MAX_ATTEMPTS if is_retried(error) else 1
    return MAX_POISON_ATTEMPTS if is_poison(error) else MAX_ATTEMPTS


def is_retried(error: stripe.StripeError) -> bool:
    """Return whether a request to Stripe may succeed later: as Stripe says, or else by its status."""
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if (word := headers.get("stripe-should-retry")) in {"true", "false"}:
        return word == "true"
    status = error.http_status
    return status is None or status >= 500 or status in RETRIED_STATUSES


def is_poison(error: Exception) -> bool:
    """Return whether it is our code that fails, and not something that it needs."""
    if isinstance(error, DBAPIError):
        return isinstance(error, (DataError, IntegrityError, ProgrammingError))
    return not isinstance(error, (ServiceError, SecondSubscription, OSError, TimeoutError))


def describe(error: Exception) -> str:
    """Describe an error without what it may quote of a person's data."""
    name = type(error).__name__
    if isinstance(error, stripe.StripeError):
        return f"{name}: status {error.http_status}, code {error.code}, request {error.request_id}"[
            :MAX_ERROR
        ]
    if isinstance(error, (ServiceError, SecondSubscription, TenantMismatch, CustomerUnmapped)):
        return f"{name}: {error}"[:MAX_ERROR]
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "billing_webhook" in frame.filename] or frames
    return f"{name} at {own[-1].name}:{own[-1].lineno}" if own else name

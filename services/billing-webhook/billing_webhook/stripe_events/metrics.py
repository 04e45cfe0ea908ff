"""Metrics of Stripe's events."""

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.1, 0.5, 1, 2, 5, 15, 60, 300, 1800, 7200, 86400)

RECEIVED = Counter("stripe_events_received_total", "Events that were verified, repeats included.")
REJECTED = Counter("stripe_events_rejected_total", "Requests that were no events of Stripe.", ["reason"])
DUPLICATE = Counter("stripe_events_duplicate_total", "Events that were stored before.")
IGNORED = Counter("stripe_events_ignored_total", "Events that are stored and not processed.", ["reason"])
VERSION_MISMATCH = Counter(
    "stripe_event_api_version_mismatch_total", "Snapshot events of another API version than the SDK's."
)
DISPATCHED = Counter("stripe_dispatches_total", "Attempts to process an event.", ["handler", "status"])
ATTEMPTS = Histogram(
    "stripe_dispatch_attempts", "Attempts until an event was processed.", buckets=(1, 2, 3, 5, 8, 12)
)
OLDEST = Gauge("stripe_dispatch_oldest_due_seconds", "Age of the oldest dispatch that is due.")
APPLIED = Histogram(
    "stripe_event_apply_seconds", "From an event's creation at Stripe until it was applied.", buckets=SECONDS
)
BACKFILLED = Counter("stripe_events_backfilled_total", "Events that the webhook never got, and were fetched.")
DRIFT = Gauge("stripe_subscriptions_drifted", "Subscriptions that differed from Stripe's at the last look.")
METER_ERRORS = Counter(
    "stripe_meter_errors_total", "Reports about usage that Stripe could not count.", ["type"]
)

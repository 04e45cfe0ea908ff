"""The workers that process Stripe's events."""

from servicekit.app import Resources
from servicekit.retention import RetentionRule
from servicekit.workers.supervisor import Worker
from sqlalchemy import func

from billing_webhook.models import Base, StripeEvent
from billing_webhook.settings import Settings
from billing_webhook.stripe_events.dispatch_worker import DispatchWorker
from billing_webhook.stripe_events.schedule import EVENT_RETENTION, ScheduledJobs

# Their dispatches go with them.
RETENTION: RetentionRule = (
    Base.metadata.tables[StripeEvent.__tablename__],
    StripeEvent.received_at < func.now() - EVENT_RETENTION,
)


def create_workers(resources: Resources, *, is_standalone: bool) -> list[Worker]:
    """Return the workers; none where billing, or ENABLE_BILLING_RETRY_WORKER, is off."""
    settings = Settings.of(resources)
    client = settings.stripe(resources.http)
    if client is None or not settings.enable_billing or not settings.enable_billing_retry_worker:
        return []
    return [
        DispatchWorker(resources.database, client, settings, is_standalone=is_standalone),
        ScheduledJobs(resources.database, client, settings),
    ]

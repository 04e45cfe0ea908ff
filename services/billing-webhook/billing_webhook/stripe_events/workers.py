"""The workers that process Stripe's events."""

from servicekit.app import Resources
from servicekit.workers.supervisor import Worker

from billing_webhook.settings import Settings
from billing_webhook.stripe_events.dispatch_worker import DispatchWorker


def create_workers(resources: Resources) -> list[Worker]:
    """Return the workers; none where billing, or ENABLE_BILLING_RETRY_WORKER, is off."""
    settings = resources.settings
    assert isinstance(settings, Settings)  # noqa: S101  # it was built with these
    client = settings.stripe(resources.http)
    if client is None or not settings.enable_billing or not settings.enable_billing_retry_worker:
        return []
    return [DispatchWorker(resources.database, client, settings)]

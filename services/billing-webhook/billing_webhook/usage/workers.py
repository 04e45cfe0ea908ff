"""The workers that bring usage to Stripe, and compare it."""

from servicekit.app import Resources
from servicekit.workers.supervisor import Worker

from billing_webhook.settings import Settings
from billing_webhook.usage.projection_worker import MeterProjectionWorker
from billing_webhook.usage.reconcile import UsageReconcileWorker


def create_workers(resources: Resources) -> list[Worker]:
    """Return the workers; none where billing is off."""
    settings = Settings.of(resources)
    if not settings.enable_billing:
        return []
    client = settings.stripe(resources.http)
    comparing = UsageReconcileWorker(resources.database, client)
    return [comparing] if client is None else [MeterProjectionWorker(resources.database, client), comparing]

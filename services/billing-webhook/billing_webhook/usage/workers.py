"""The workers that bring usage to Stripe, and compare it."""

from datetime import timedelta

from servicekit.app import Resources
from servicekit.workers.supervisor import Worker

from billing_webhook.settings import Settings
from billing_webhook.usage.meter_event_worker import MeterEventWorker
from billing_webhook.usage.reconcile import UsageReconcileWorker


def create_workers(resources: Resources) -> list[Worker]:
    """Return the workers; none where billing is off."""
    settings = Settings.of(resources)
    if not settings.enable_billing:
        return []
    client = settings.stripe(resources.http)
    comparing = UsageReconcileWorker(resources.database, client)
    if client is None:
        return [comparing]
    window = timedelta(minutes=settings.billing_meter_window_minutes)
    return [MeterEventWorker(resources.database, client, window), comparing]

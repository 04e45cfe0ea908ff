"""Workers of billing-webhook: publish and consume events, erase users, delete old rows."""

from collections.abc import Sequence
from functools import partial

from servicekit.app import Resources, run_workers
from servicekit.events.relay import Consumer, Handler, OutboxRelay
from servicekit.retention import RetentionWorker
from servicekit.workers.supervisor import Worker

from billing_webhook import erasure
from billing_webhook.billing_events.hub import StandaloneAnnouncer
from billing_webhook.billing_events.retention import retention_rules
from billing_webhook.entitlements.expiry import ReservationExpiryWorker
from billing_webhook.events import READERS
from billing_webhook.services import BillingServices
from billing_webhook.settings import Settings
from billing_webhook.stripe_events import workers as stripe_events
from billing_webhook.subscriptions import signup
from billing_webhook.subscriptions.access_worker import AccessWorker
from billing_webhook.subscriptions.worker import CommandWorker
from billing_webhook.usage import runs
from billing_webhook.usage import workers as usage

HANDLERS: dict[str, Handler] = {
    "chat.run.completed.v1": runs.record,
    "auth.tenant.created.v1": signup.begin,
    **erasure.HANDLERS,
}


def workers(resources: Resources, *, is_standalone: bool = False) -> Sequence[Worker]:
    """List the workers of this service; `is_standalone` in a process that has no routes."""
    retention = [*retention_rules(Settings.of(resources)), stripe_events.RETENTION, erasure.RETENTION]
    settings = Settings.of(resources)
    services = BillingServices.from_resources(resources) if settings.enable_billing else None
    begin = partial(signup.begin, signup_plan=settings.signup_plan)
    return [
        OutboxRelay(resources.database, resources.redis, source="billing-webhook", readers=READERS),
        Consumer(
            resources.database,
            resources.redis,
            service="billing-webhook",
            sources=("chat-agent", "auth"),
            handlers={**HANDLERS, "auth.tenant.created.v1": begin},
        ),
        erasure.create_erasure_worker(resources.database),
        ReservationExpiryWorker(resources.database),
        RetentionWorker(resources.database, rules=retention),
        *stripe_events.create_workers(resources, is_standalone=is_standalone),
        *([AccessWorker(resources.database)] if settings.enable_billing else []),
        *([CommandWorker(services)] if services else []),
        *usage.create_workers(resources),
    ]


def standalone_workers(resources: Resources) -> Sequence[Worker]:
    """List the workers of a process of its own, which announces its billing events to those with streams."""
    return [
        *workers(resources, is_standalone=True),
        StandaloneAnnouncer(resources),
    ]


if __name__ == "__main__":
    run_workers("billing-webhook", Settings.load(), standalone_workers)

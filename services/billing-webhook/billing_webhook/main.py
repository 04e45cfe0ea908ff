"""billing-webhook: the usage ledger and Stripe's events."""

from fastapi import FastAPI
from servicekit.app import create_service
from servicekit.server import serve

from billing_webhook.settings import Settings
from billing_webhook.stripe_events import routes as stripe_events
from billing_webhook.usage import routes as usage
from billing_webhook.worker import workers


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the service."""
    return create_service(
        "billing-webhook",
        settings or Settings(),
        description="Usage of the tenants of Acme, and webhooks of Stripe.",
        routers=[usage.router, stripe_events.router],
        workers=workers,
    )


if __name__ == "__main__":
    serve(create_app(Settings.load()))

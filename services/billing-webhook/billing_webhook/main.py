"""billing-webhook: plans, subscriptions, the usage ledger and Stripe's events."""

from fastapi import FastAPI
from servicekit.app import create_service
from servicekit.server import serve

from billing_webhook.entitlements import internal_routes as reservations
from billing_webhook.entitlements import routes as entitlements
from billing_webhook.plans import routes as plans
from billing_webhook.settings import Settings
from billing_webhook.stripe_events import routes as stripe_events
from billing_webhook.usage import routes as usage
from billing_webhook.worker import workers


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the service."""
    settings = settings or Settings()
    app = create_service(
        "billing-webhook",
        settings,
        description="Plans, subscriptions and usage of the tenants of Acme, and webhooks of Stripe.",
        routers=[plans.router, usage.router, entitlements.router, stripe_events.router],
        internal=[reservations.router],
        workers=workers,
    )
    app.state.stripe = settings.stripe(app.state.resources.http)
    return app


if __name__ == "__main__":
    serve(create_app(Settings.load()))

"""billing-webhook: plans, subscriptions, the usage ledger and Stripe's events."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from servicekit.app import Resources, create_service
from servicekit.server import serve

from billing_webhook.billing_events import routes as billing_events
from billing_webhook.billing_events.hub import running_hub
from billing_webhook.entitlements import internal_routes as reservations
from billing_webhook.entitlements import routes as entitlements
from billing_webhook.entitlements.run_limits import RunLimits
from billing_webhook.plans import routes as plans
from billing_webhook.services import BillingServices
from billing_webhook.settings import Settings
from billing_webhook.stripe_events import routes as stripe_events
from billing_webhook.subscriptions import internal_routes as billing_contact
from billing_webhook.subscriptions import routes as subscriptions
from billing_webhook.usage import routes as usage
from billing_webhook.worker import workers


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the service."""
    settings = settings or Settings()
    app = create_service(
        "billing-webhook",
        settings,
        description="Plans, subscriptions and usage of the tenants of Acme, and webhooks of Stripe.",
        routers=[
            plans.router,
            subscriptions.router,
            usage.router,
            entitlements.router,
            billing_events.router,
            stripe_events.router,
        ],
        internal=[reservations.router, billing_contact.router],
        workers=workers,
        lifespan=lambda resources: serving_streams(app, resources),
    )
    app.state.stripe = settings.stripe(app.state.resources.http)
    app.state.internal.state.run_limits = RunLimits(settings)
    app.state.billing = BillingServices.from_resources(app.state.resources)
    return app


@asynccontextmanager
async def serving_streams(app: FastAPI, resources: Resources) -> AsyncIterator[None]:
    """Run the hub of the billing stream, if there is one, while the app serves requests."""
    app.state.hub = None
    if not Settings.of(resources).enable_billing_stream:
        yield
        return
    async with running_hub(resources) as app.state.hub:
        yield


if __name__ == "__main__":
    serve(create_app(Settings.load()))

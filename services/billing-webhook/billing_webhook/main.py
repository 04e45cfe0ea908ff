"""billing-webhook: what is owed. The usage ledger, and what Stripe says."""

from fastapi import FastAPI
from servicekit.app import create_service, serve

from billing_webhook.routes import billing, webhooks
from billing_webhook.settings import Settings
from billing_webhook.worker import workers


def create_app(settings: Settings | None = None) -> FastAPI:
    """Put the service together."""
    return create_service(
        "billing-webhook",
        settings or Settings(),
        description="What the tenants of Acme use, and what Stripe says of them.",
        routers=[billing, webhooks],
        workers=workers,
    )


if __name__ == "__main__":
    serve(create_app(Settings.load()))

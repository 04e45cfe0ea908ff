"""conversation: stores the history of every conversation."""

from fastapi import FastAPI
from servicekit.app import create_service
from servicekit.server import serve

from conversation import internal_routes, routes
from conversation.quotas import Quotas
from conversation.settings import Settings
from conversation.worker import workers


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the service."""
    settings = settings or Settings()
    app = create_service(
        "conversation",
        settings,
        description="The history of every conversation.",
        routers=[routes.router],
        internal=[internal_routes.router],
        workers=workers,
    )
    app.state.quotas = app.state.internal.state.quotas = Quotas(settings.limits)
    return app


if __name__ == "__main__":
    serve(create_app(Settings.load()))

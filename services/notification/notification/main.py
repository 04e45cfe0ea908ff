"""notification: sends each email once."""

from fastapi import FastAPI
from servicekit.app import create_service
from servicekit.server import serve

from notification.routes import router
from notification.settings import Settings
from notification.worker import workers


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the service."""
    return create_service(
        "notification",
        settings or Settings(),
        description="Emails to the users of Acme's tenants.",
        routers=[router],
        workers=workers,
    )


if __name__ == "__main__":
    serve(create_app(Settings.load()))

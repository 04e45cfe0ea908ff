"""notification: what people hear. E-mail, sent once."""

from fastapi import FastAPI
from servicekit.app import create_service, serve

from notification.routes import router
from notification.settings import Settings
from notification.worker import workers


def create_app(settings: Settings | None = None) -> FastAPI:
    """Put the service together."""
    return create_service(
        "notification",
        settings or Settings(),
        description="What the people of Acme's tenants are told, and how.",
        routers=[router],
        workers=workers,
    )


if __name__ == "__main__":
    serve(create_app(Settings.load()))

"""What the operator's commands have in common."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from servicekit.app import Resources, build_resources

from billing_webhook.settings import Settings

PLAIN: dict[str, Any] = {"no_args_is_help": True, "rich_markup_mode": None, "pretty_exceptions_enable": False}


@asynccontextmanager
async def resources() -> AsyncIterator[tuple[Resources, Settings]]:
    """Open what the service works with, by its settings."""
    settings = Settings.load()
    opened = build_resources("billing-webhook", settings)
    try:
        yield opened, settings
    finally:
        await opened.database.close()
        await opened.redis.aclose()
        await opened.http.aclose()

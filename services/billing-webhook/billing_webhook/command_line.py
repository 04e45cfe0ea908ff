"""What the operator's commands have in common."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeVar

import typer
from servicekit.app import Resources, build_resources
from servicekit.command_errors import DependencyFailed, named_dependencies
from servicekit.errors import ServiceError

from billing_webhook.settings import Settings

T = TypeVar("T")
PLAIN: dict[str, Any] = {"no_args_is_help": True, "rich_markup_mode": None, "pretty_exceptions_enable": False}


def fail(message: object) -> NoReturn:
    """Print an error and exit with code 1."""
    typer.echo(message, err=True)
    raise typer.Exit(1)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine; exit with its message when it raises an error of ours."""
    try:
        with named_dependencies():
            return asyncio.run(work)
    except ServiceError as error:
        fail(error.detail)
    except DependencyFailed as error:
        fail(error)


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

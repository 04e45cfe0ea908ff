"""The operator's commands: `python -m billing_webhook stripe …`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from billing_webhook.command_line import PLAIN
from billing_webhook.entitlements.cli import entitlements
from billing_webhook.stripe_events import cli as stripe_events
from billing_webhook.stripe_events.handlers import HANDLERS
from billing_webhook.stripe_setup import cli as stripe_setup
from billing_webhook.usage.cli import meter_events, reconcile_command

app = typer.Typer(**PLAIN, add_completion=False, help="Operate the billing of this installation.")
stripe_app = typer.Typer(**PLAIN, help="What this installation has at Stripe, and hears of it.")
app.add_typer(stripe_app, name="stripe")
app.add_typer(entitlements, name="entitlements")
stripe_app.add_typer(stripe_events.dispatches, name="dispatches")
stripe_app.add_typer(meter_events, name="meter-events")
stripe_app.command("backfill")(stripe_events.backfill_command)
stripe_app.command("reconcile")(stripe_events.reconcile_command)
app.command("reconcile")(reconcile_command)


@stripe_app.command("setup")
def setup_command(
    api_key: Annotated[
        str, typer.Option(envvar="STRIPE_SECRET_KEY", prompt="Stripe's secret key", hide_input=True)
    ],
    webhook_url: Annotated[
        str | None,
        typer.Option(
            help="Where Stripe sends events: https://<your host>/webhooks/stripe. Without it, none."
        ),
    ] = None,
    webhook_secret: Annotated[
        str, typer.Option(envvar="STRIPE_WEBHOOK_SECRET", help="The secrets of existing endpoints.")
    ] = "",
    env_file: Annotated[Path, typer.Option(help="The file that the variables are written to.")] = Path(
        ".env"
    ),
    api_base: Annotated[str, typer.Option(envvar="STRIPE_API_BASE", hidden=True)] = "",
) -> None:
    """Create products, prices, meters, portal and webhook at Stripe, or reuse them; safe to repeat."""
    types = {type_ for handler in HANDLERS.values() for type_ in handler.effects}
    work = stripe_setup.run_setup(api_key, api_base, webhook_url, webhook_secret, types, env_file)
    stripe_setup.report(asyncio.run(work))


@app.callback()
def billing() -> None:
    """Make the names of groups part of the command, also while there is one."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        app(arguments, prog_name="python -m billing_webhook")
    except SystemExit as end:
        return int(end.code or 0)
    return 0

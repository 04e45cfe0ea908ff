"""The operator's commands: `python -m billing_webhook stripe …`."""

import typer

from billing_webhook.command_line import PLAIN
from billing_webhook.entitlements.cli import entitlements
from billing_webhook.stripe_events import cli as stripe_events

app = typer.Typer(**PLAIN, add_completion=False, help="Operate the billing of this installation.")
stripe_app = typer.Typer(**PLAIN, help="What this installation has at Stripe, and hears of it.")
app.add_typer(stripe_app, name="stripe")
app.add_typer(entitlements, name="entitlements")
stripe_app.add_typer(stripe_events.dispatches, name="dispatches")
stripe_app.command("backfill")(stripe_events.backfill_command)
stripe_app.command("reconcile")(stripe_events.reconcile_command)


@app.callback()
def billing() -> None:
    """Keep the names of the groups, also while there is one."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        app(arguments, prog_name="python -m billing_webhook")
    except SystemExit as end:
        return int(end.code or 0)
    return 0

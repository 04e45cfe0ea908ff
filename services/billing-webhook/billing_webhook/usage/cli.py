"""The commands `python -m billing_webhook reconcile` and `… stripe meter-events list|settle`."""

import getpass
from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import stripe
import typer
from servicekit.command_errors import fail, run

from billing_webhook.command_line import PLAIN, resources
from billing_webhook.models import MeterEvent
from billing_webhook.quantities import to_text
from billing_webhook.stripe_client import require_client
from billing_webhook.usage import reconcile, settlement
from billing_webhook.usage.settlement import Outcome

meter_events = typer.Typer(**PLAIN, help="Usage that Stripe has rejected, or may not have counted.")


def reconcile_command(
    all_views: Annotated[bool, typer.Option("--all", help="Print also what agrees.")] = False,
) -> None:
    """Compare the ledger with its counters, Stripe's meters and the next invoices; exit 1 if they differ."""
    compared = run(compare())
    for each in compared:
        if all_views or each.differs:
            typer.echo(describe(each))
    differing = sum(each.differs for each in compared)
    typer.echo(f"{len(compared)} compared, {differing} differ")
    if differing:
        raise typer.Exit(1)


async def compare() -> list[reconcile.Comparison]:
    """Return all comparisons."""
    async with resources() as (opened, settings):
        client = settings.stripe(opened.http)
        return [each async for each in reconcile.compare(opened.database, client)]


def describe(comparison: reconcile.Comparison) -> str:
    """Return a comparison as one line of text."""
    names = ("ledger", "counter", "pending", "rejected", "meter", "invoice")
    values = {name: getattr(comparison, name) for name in names}
    fields = "  ".join(f"{name} {to_text(value)}" for name, value in values.items() if value is not None)
    word = "DIFFERS" if comparison.differs else "agrees"
    return (
        f"{word}  {comparison.tenant_id}  {comparison.feature}  {comparison.period_start:%Y-%m-%d}  {fields}"
    )


@meter_events.command("list")
def list_command(
    tenant: Annotated[UUID | None, typer.Option(help="Of this tenant.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
) -> None:
    """List the meter events that need an operator, the oldest first."""
    for event in run(list_open(tenant, limit)):
        typer.echo(
            f"{event.identifier}  {event.state}  {event.event_name}  {to_text(event.value)}  "
            f"{event.timestamp:%Y-%m-%d %H:%M}  {event.error or ''}".rstrip()
        )


async def list_open(tenant: UUID | None, limit: int) -> Sequence[MeterEvent]:
    """Return the meter events that need an operator."""
    async with resources() as (opened, _), opened.database.begin() as db:
        return await settlement.list_open(db, tenant, limit)


@meter_events.command("settle")
def settle_command(
    identifier: Annotated[str, typer.Argument(help="As `list` shows it.")],
    reason: Annotated[str, typer.Option(help="Why, for whoever asks later.")],
    outcome: Annotated[
        Outcome | None,
        typer.Option(help="counted: Stripe counts it. resent: it does not, so it is sent again."),
    ] = None,
    operator: Annotated[str, typer.Option(help="Who; by default, the user of this machine.")] = "",
) -> None:
    """Settle a meter event, by default with what Stripe's sum says of it."""
    settled = run(settle(identifier, outcome, operator or getpass.getuser(), reason))
    typer.echo(f"{identifier}  {settled}")


async def settle(identifier: str, outcome: Outcome | None, operator: str, reason: str) -> Outcome:
    """Settle a meter event with our database and Stripe; raises StripeNotConfigured."""
    async with resources() as (opened, settings):
        client = require_client(settings.stripe(opened.http))
        try:
            outcome = outcome or await settlement.find_outcome(opened.database, client, identifier)
        except stripe.StripeError as error:
            fail(f"Stripe has refused: {error.user_message}")
        await settlement.settle(opened.database, identifier, outcome, operator=operator, reason=reason)
        return outcome

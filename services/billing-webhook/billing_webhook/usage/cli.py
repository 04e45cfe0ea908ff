"""The command `python -m billing_webhook reconcile`."""

from typing import Annotated

import typer

from billing_webhook.command_line import resources, run
from billing_webhook.quantities import to_text
from billing_webhook.usage import reconcile


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

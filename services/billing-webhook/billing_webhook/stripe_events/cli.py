"""Commands: `python -m billing_webhook stripe dispatches list|replay|validate-fixtures`."""

import asyncio
import getpass
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import stripe
import typer
from servicekit.command_errors import T, fail, run
from servicekit.database import Database

from billing_webhook.command_line import PLAIN, resources
from billing_webhook.stripe_client import require_client
from billing_webhook.stripe_events import fixtures
from billing_webhook.stripe_events.backfill import backfill
from billing_webhook.stripe_events.drift import reconcile
from billing_webhook.stripe_events.replay import (
    DispatchLine,
    Replay,
    Selection,
    dispatch_event,
    list_dispatches,
    replay,
)

FIXTURES = Path("tests/fixtures/stripe")
# For so long a replay waits for its result.
WAIT_SECONDS = 15.0

dispatches = typer.Typer(**PLAIN, help="Events of Stripe at their handlers.")

Handler = Annotated[str | None, typer.Option(help="Of this handler, as billing_sync.")]
Status = Annotated[
    str | None, typer.Option(help="pending, running, completed, failed (to be retried), unmapped or dead.")
]
Type = Annotated[str | None, typer.Option("--type", help="Of events of this type, as invoice.paid.")]
Tenant = Annotated[UUID | None, typer.Option(help="Of this tenant.")]
Since = Annotated[datetime | None, typer.Option(help="Stored at this time or later (UTC).")]
Until = Annotated[datetime | None, typer.Option(help="Stored before this time (UTC).")]
EventId = Annotated[str | None, typer.Option(help="Of this event, as evt_….")]
DispatchId = Annotated[UUID | None, typer.Option(help="This one.")]


@dispatches.command("list")
def list_command(  # noqa: PLR0913, PLR0917  # the options of a command
    handler: Handler = None,
    status: Status = None,
    type_: Type = None,
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    event_id: EventId = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List dispatches, newest first."""
    selection = Selection(None, event_id, handler, status, type_, tenant, utc(since), utc(until))
    for line in run(selected(selection, limit)):
        typer.echo(json.dumps(asdict(line), default=str) if as_json else describe(line))


async def selected(selection: Selection, limit: int = 10_000) -> list[DispatchLine]:
    """Return the selected dispatches."""
    async with resources() as (opened, _), opened.database.begin() as db:
        return await list_dispatches(db, selection, limit)


def describe(line: DispatchLine) -> str:
    """Return a dispatch as one line of text."""
    fields = (line.id, line.status, line.handler, line.type, line.event_id, line.tenant_id or "-")
    return "  ".join(map(str, fields)) + (
        f"  attempts {line.attempts}  age {line.age_seconds} s  {line.last_error or ''}".rstrip()
    )


@dispatches.command("replay")
def replay_command(  # noqa: PLR0913, PLR0917  # the options of a command
    dispatch_id: DispatchId = None,
    event_id: EventId = None,
    handler: Handler = None,
    status: Status = None,
    type_: Type = None,
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    reason: Annotated[str, typer.Option(help="Why, for whoever asks later.")] = "",
    operator: Annotated[str, typer.Option(help="Who; by default, the user of this machine.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Also what was completed.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run, and change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before more than one is replayed.")] = False,
) -> None:
    """Process dispatches again; what they have applied before is not applied twice."""
    selection = Selection(dispatch_id, event_id, handler, status, type_, tenant, utc(since), utc(until))
    if selection == Selection():
        raise typer.BadParameter("Use --dispatch-id, --event-id, --status or another filter.")
    chosen = run(selected(selection))
    if dry_run:
        for line in chosen:
            typer.echo(f"would replay {describe(line)}")
        return
    if len(chosen) > 1 and not yes:
        typer.confirm(f"Replay {len(chosen)} dispatches?", abort=True)
    how = Replay(operator or getpass.getuser(), reason, force)
    for line in run(replay_and_wait(selection, how)):
        typer.echo(describe(line))


async def replay_and_wait(selection: Selection, how: Replay) -> list[DispatchLine]:
    """Have dispatches processed by the service's worker, and return what came of them in time."""
    async with resources() as (opened, settings):
        if selection.event_id is not None:
            async with opened.database.begin() as db:
                await dispatch_event(db, selection.event_id, settings)
        async with opened.database.begin() as db:
            ids = await replay(db, selection, how)
        return await outcomes(opened.database, list(ids))


async def outcomes(database: Database, ids: list[UUID]) -> list[DispatchLine]:
    """Wait until dispatches were processed, for a while."""
    deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
    while True:
        async with database.begin() as db:
            lines = [line for each in ids for line in await list_dispatches(db, Selection(each), 1)]
        is_done = all(line.status not in {"pending", "running"} for line in lines)
        if is_done or asyncio.get_running_loop().time() > deadline:
            return lines
        await asyncio.sleep(0.5)


@dispatches.command("validate-fixtures")
def validate_fixtures(
    folder: Annotated[Path, typer.Argument(help="The folder of the events, *.json.")] = FIXTURES,
) -> None:
    """Check recorded events: shape, version, handler, and that they contain no secret."""
    files = sorted(folder.glob("*.json"))
    if not files:
        fail(f"There are no fixtures in {folder}.")
    if problems := fixtures.lint(files):
        fail("\n".join(problems))
    typer.echo(f"{len(files)} fixtures are valid.")


def backfill_command(since: Since = None) -> None:
    """Fetch the events that Stripe has and the webhook never got."""
    typer.echo(f"{run(at_stripe(backfill, since=utc(since)))} events were missing.")


def reconcile_command(
    apply: Annotated[bool, typer.Option("--apply", help="Store Stripe's state where ours differs.")] = False,
) -> None:
    """Compare the subscriptions at Stripe with ours; exit with 1 where one differs, and is left so."""
    drifts = run(at_stripe(reconcile, is_applied=apply))
    for drift in drifts:
        outcome = "applied" if drift.is_applied else "differs"
        typer.echo(
            f"{drift.subscription_id}  {drift.tenant_id or '-'}  {outcome}: {', '.join(drift.differences)}"
        )
    typer.echo(f"{len(drifts)} subscriptions differ.")
    if any(not drift.is_applied for drift in drifts):
        raise typer.Exit(1)


async def at_stripe(job: Callable[..., Awaitable[T]], **options: Any) -> T:
    """Do something with our database and Stripe; raises StripeNotConfigured."""
    async with resources() as (opened, settings):
        client = require_client(settings.stripe(opened.http))
        try:
            return await job(opened.database, client, settings, **options)
        except stripe.StripeError as error:
            fail(f"Stripe has refused: {error.user_message}")


def utc(moment: datetime | None) -> datetime | None:
    """Return a time with a zone: UTC where it has none."""
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment

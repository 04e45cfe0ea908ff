"""Commands: `python -m billing_webhook entitlements grant|grants|revoke`."""

import getpass
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated
from uuid import UUID

import typer
from servicekit.command_errors import fail, run

from billing_webhook.command_line import PLAIN, resources
from billing_webhook.entitlements import grants
from billing_webhook.models import EntitlementGrant
from billing_webhook.quantities import to_text

entitlements = typer.Typer(**PLAIN, help="What a tenant may use beside its plan.")

Tenant = Annotated[UUID, typer.Argument(help="The tenant's id.")]


@entitlements.command("grant")
def grant_command(  # noqa: PLR0913, PLR0917  # the options of a command
    tenant: Tenant,
    features: Annotated[list[str], typer.Argument(help="Their keys in plans.toml, as messages.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the grant.")],
    limit: Annotated[str | None, typer.Option(help="In place of the plan's; without it, no limit.")] = None,
    priority: Annotated[int, typer.Option(help="Of several grants the highest counts.")] = 0,
    expires: Annotated[datetime | None, typer.Option(help="Until when (UTC); without it, for ever.")] = None,
) -> None:
    """Grant a tenant features, in place of what its plan says."""
    expires_at = expires.replace(tzinfo=UTC) if expires else None
    for grant in run(create(tenant, features, parse_limit(limit), priority, expires_at, reason)):
        typer.echo(describe(grant))


def parse_limit(text: str | None) -> Decimal | None:
    """Return a limit; exit when it is none."""
    try:
        limit = None if text is None else Decimal(text)
    except InvalidOperation:
        fail(f"{text} is not a number.")
    if limit is not None and not (limit.is_finite() and limit >= 0):
        fail(f"{text} is not a limit.")
    return limit


async def create(  # noqa: PLR0913, PLR0917  # what is granted
    tenant: UUID,
    features: Sequence[str],
    limit: Decimal | None,
    priority: int,
    expires_at: datetime | None,
    reason: str,
) -> Sequence[EntitlementGrant]:
    """Store a grant of each feature."""
    async with resources() as (opened, _), opened.database.begin() as db:
        return [
            await grants.create(
                db,
                tenant,
                feature,
                limit=limit,
                priority=priority,
                expires_at=expires_at,
                reason=reason,
                granted_by=getpass.getuser(),
            )
            for feature in features
        ]


@entitlements.command("grants")
def grants_command(tenant: Tenant) -> None:
    """List the grants of a tenant."""
    for grant in run(list_all(tenant)):
        typer.echo(describe(grant))


async def list_all(tenant: UUID) -> Sequence[EntitlementGrant]:
    """Return the grants of a tenant."""
    async with resources() as (opened, _), opened.database.begin() as db:
        return await grants.list_all(db, tenant)


def describe(grant: EntitlementGrant) -> str:
    """Return a grant as one line of text."""
    limit = "no limit" if grant.limit is None else f"limit {to_text(grant.limit)}"
    until = f"until {grant.expires_at:%Y-%m-%d %H:%M} UTC" if grant.expires_at else "for ever"
    return f"{grant.id}  {grant.feature_key}  {limit}  {until}  priority {grant.priority}  {grant.reason}"


@entitlements.command("revoke")
def revoke_command(grant_id: Annotated[UUID, typer.Argument(help="The grant's id.")]) -> None:
    """Revoke a grant."""
    run(revoke(grant_id))


async def revoke(grant_id: UUID) -> None:
    """Delete a grant."""
    async with resources() as (opened, _), opened.database.begin() as db:
        await grants.revoke(db, grant_id)

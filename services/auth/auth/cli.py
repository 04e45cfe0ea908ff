"""The operator's commands: `python -m auth keys|tenants|users|sessions …`."""

import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from redis.exceptions import RedisError
from servicekit import redis_client
from servicekit.auth.permissions import Role
from servicekit.command_errors import fail, run
from servicekit.database import Database
from servicekit.jwks import invalidation
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import users
from auth.access.roles import find_tenant
from auth.email_address import normalize
from auth.models import Tenant
from auth.registration.seed import Seed, SeedRefused, seed
from auth.sessions import operator_actions
from auth.settings import Settings
from auth.signing.key_ring import KeyCreationFailed, KeyNotFound, RotationPending
from auth.signing.signing_keys import SigningKeys
from auth.tenants import lifecycle
from auth.tenants.lifecycle import OPERATOR

PLAIN: dict[str, Any] = {"no_args_is_help": True, "rich_markup_mode": None, "pretty_exceptions_enable": False}
app = typer.Typer(**PLAIN, add_completion=False, help="Operate the accounts of this installation.")
keys_app = typer.Typer(**PLAIN, help="The keys that access tokens are signed with.")
tenants_app = typer.Typer(**PLAIN, help="The tenants of all customers.")
users_app = typer.Typer(**PLAIN, help="The users of all tenants.")
sessions_app = typer.Typer(**PLAIN, help="The sessions of all users. API keys are not sessions.")
for name, group in {
    "keys": keys_app,
    "tenants": tenants_app,
    "users": users_app,
    "sessions": sessions_app,
}.items():
    app.add_typer(group, name=name)

TenantName = Annotated[str, typer.Argument(metavar="SLUG|ID", help="The tenant.")]


@asynccontextmanager
async def transaction() -> AsyncIterator[tuple[AsyncSession, Settings]]:
    """Open one transaction on the database of the settings."""
    settings = Settings.load()
    database = Database.from_settings(settings, "auth-cli", pool_size=1)
    try:
        async with database.begin() as db:
            yield db, settings
    finally:
        await database.close()


@keys_app.command("list")
def list_keys() -> None:
    """List all keys with their state and the time from which each signs."""
    run(change_keys())


@keys_app.command()
def rotate(
    at_once: Annotated[
        bool, typer.Option(help="Sign with it now, before every cache can have it (tokens may be rejected).")
    ] = False,
) -> None:
    """Publish a new key; it signs after AUTH_KEY_PUBLISH_LEAD_MINUTES."""
    run(change_keys(rotate=True, at_once=at_once))


# One id in 64 begins with a hyphen, and is no option.
@keys_app.command(context_settings={"ignore_unknown_options": True})
def revoke(kid: Annotated[str, typer.Argument(help="The id of the key.")]) -> None:
    """Revoke a leaked key: everything that it signed is rejected, and another key signs at once."""
    run(change_keys(revoke=kid))


async def change_keys(*, rotate: bool = False, at_once: bool = False, revoke: str | None = None) -> None:
    """Rotate or revoke, show all keys, and notify the services of what they cannot wait for."""
    settings, failure = Settings.load(), ""
    async with aclosing(SigningKeys.from_settings(settings)) as keys:
        try:
            if rotate:
                await keys.rotate(at_once=at_once)
            if revoke:
                await keys.revoke(revoke)
        except RotationPending:
            fail("A new key is already published and will sign from the time that `list` shows.")
        except KeyNotFound:
            fail("There is no key with this id; `list` shows all keys.")
        except KeyCreationFailed as error:
            if not revoke:
                fail(error)
            failure = f"The key is revoked, but no other signs in its place: {error} Fix that, then `rotate`."
        if not failure:
            await show_keys(keys, settings)
    if revoke or at_once:
        await notify_services(settings, [revoke] if revoke else [])
    if failure:
        fail(failure)


async def show_keys(keys: SigningKeys, settings: Settings) -> None:
    """Print the keys, one a line; nothing private."""
    ring = await keys.read()
    for key, state in ring.states(datetime.now(UTC).timestamp(), settings.overlap).items():
        since = datetime.fromtimestamp(key.active_from, UTC)
        typer.echo(f"{key.kid}  {state.value:<8}  signs from {since:%FT%TZ}  {key.location}")


async def notify_services(settings: Settings, revoked: list[str]) -> None:
    """Have every service fetch the keys now; without Redis, they do so when their cache ends."""
    try:
        async with redis_client.connect(settings) as redis:
            await invalidation.publish_key_revocation(redis, revoked)
    except (RedisError, OSError):
        minutes = settings.auth_jwks_max_age_seconds // 60 + 1
        fail(f"Done, but Redis does not answer: services find out within {minutes} minutes.")


@tenants_app.command("list")
def list_tenants() -> None:
    """List all tenants with their status."""
    for line in run(tenant_lines()):
        typer.echo(line)


@tenants_app.command()
def suspend(tenant: TenantName) -> None:
    """Suspend a tenant: nobody has access until it is reactivated here."""
    typer.echo(run(change_tenant(tenant, suspend=True)))


@tenants_app.command()
def reactivate(tenant: TenantName) -> None:
    """Reactivate a tenant, also a deleted one that is not purged yet."""
    typer.echo(run(change_tenant(tenant, suspend=False)))


async def tenant_lines() -> list[str]:
    """Return a line for each tenant, the oldest first."""
    async with transaction() as (db, _):
        return [tenant_line(row) for row in await db.scalars(select(Tenant).order_by(Tenant.created_at))]


async def change_tenant(name: str, *, suspend: bool) -> str:
    """Suspend or reactivate a tenant, and return its line."""
    async with transaction() as (db, _):
        tenant = await find_tenant(db, name)
        change = lifecycle.suspend if suspend else lifecycle.reactivate
        await change(db, tenant, actor=OPERATOR)
        return tenant_line(tenant)


def tenant_line(tenant: Tenant) -> str:
    """Describe a tenant in a line."""
    return f"{tenant.id}  {tenant.status.value:<9}  {tenant.slug}"


@users_app.command("seed")
def seed_user(  # noqa: PLR0913  # one parameter for each option
    *,
    email: Annotated[str, typer.Option(parser=normalize, metavar="EMAIL")],
    tenant_name: Annotated[str, typer.Option()],
    tenant_slug: Annotated[
        str | None, typer.Option(help="By default made of the name; an existing tenant is used as it is.")
    ] = None,
    role: Annotated[Role, typer.Option()] = Role.MEMBER,
    display_name: Annotated[str | None, typer.Option()] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Change an existing account: its role, password and name.")
    ] = False,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    print_password: Annotated[
        bool, typer.Option("--print-password", help="Print the generated password, this once.")
    ] = False,
) -> None:
    """Create a tenant and a verified account in it. Safe to repeat."""
    if password_stdin and print_password:
        raise typer.BadParameter("--password-stdin and --print-password exclude each other.")
    request = Seed(
        email=email,
        tenant_name=tenant_name,
        tenant_slug=tenant_slug or users.slugify(tenant_name),
        role=role,
        display_name=display_name,
        password=sys.stdin.readline().rstrip("\r\n") if password_stdin else None,
        is_update=update,
    )
    try:
        lines = run(seed(Settings.load(), request, show_password=print_password))
    except SeedRefused as error:
        fail(error)
    for line in lines:
        typer.echo(line)


@sessions_app.command()
def end(
    user: Annotated[str | None, typer.Option(metavar="EMAIL|ID", help="One user, in every tenant.")] = None,
    tenant: Annotated[str | None, typer.Option(metavar="SLUG|ID", help="All users in one tenant.")] = None,
    everybody: Annotated[bool, typer.Option("--everybody", help="All users in every tenant.")] = False,
) -> None:
    """End sessions; the users can sign in again."""
    if sum((user is not None, tenant is not None, everybody)) != 1:
        raise typer.BadParameter("Use exactly one of --user, --tenant and --everybody.")
    ended = run(end_sessions(user, tenant))
    typer.echo(f"Ended {ended} sessions. Services reject their access tokens within five seconds.")


async def end_sessions(user: str | None, tenant: str | None) -> int:
    """End the sessions of a user, of a tenant, or else of everybody; return how many."""
    async with transaction() as (db, settings):
        if user:
            found = await operator_actions.find_user(db, user)
            return await operator_actions.end_for_user(db, found, actor=OPERATOR)
        if tenant:
            return await operator_actions.end_for_tenant(db, await find_tenant(db, tenant), actor=OPERATOR)
        operators = settings.auth_operator_tenant_id
        return await operator_actions.end_every_session(db, operators, actor=OPERATOR)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        app(arguments, prog_name="python -m auth")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())

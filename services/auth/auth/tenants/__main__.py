"""The operator's command for tenants: `python -m auth.tenants list|suspend|reactivate`."""

import argparse
import asyncio
import sys

from servicekit.database import Database
from sqlalchemy import select

from auth.access.errors import TenantNotFound
from auth.access.roles import find_tenant
from auth.models import Tenant
from auth.settings import Settings
from auth.tenants.errors import TenantNotActive
from auth.tenants.lifecycle import OPERATOR, reactivate, suspend


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    chosen = parser().parse_args(arguments)
    try:
        sys.stdout.write(asyncio.run(run(Settings.load(), chosen)))
    except (TenantNotFound, TenantNotActive) as refusal:
        sys.stderr.write(f"{refusal.detail}\n")
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """Return what the command takes."""
    top = argparse.ArgumentParser(prog="python -m auth.tenants", description="The tenants of all customers.")
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="show all tenants, and what has become of each")
    suspend = commands.add_parser("suspend", help="let nobody in until it is reactivated here")
    reactivate = commands.add_parser(
        "reactivate", help="let people in again, also into a deleted tenant that is not removed yet"
    )
    for one in (suspend, reactivate):
        one.add_argument("tenant", help="its slug, or its id")
    return top


async def run(settings: Settings, chosen: argparse.Namespace) -> str:
    """Do it in one transaction; returns the lines to print."""
    database = Database.from_settings(settings, "auth-tenants", pool_size=1)
    try:
        async with database.begin() as db:
            if chosen.command == "list":
                return "".join(map(line, await db.scalars(select(Tenant).order_by(Tenant.created_at))))
            tenant = await find_tenant(db, chosen.tenant)
            change = suspend if chosen.command == "suspend" else reactivate
            await change(db, tenant, actor=OPERATOR)
            return line(tenant)
    finally:
        await database.close()


def line(tenant: Tenant) -> str:
    """Show a tenant."""
    return f"{tenant.id}  {tenant.status.value:<9}  {tenant.slug}\n"


if __name__ == "__main__":
    sys.exit(main())

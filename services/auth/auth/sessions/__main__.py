"""The operator's command for sessions: `python -m auth.sessions end --user|--tenant|--everybody`."""

import argparse
import asyncio
import sys

from servicekit.database import Database

from auth.access.errors import TenantNotFound
from auth.access.roles import find_tenant
from auth.errors import UserNotFound
from auth.sessions import operator_actions
from auth.settings import Settings
from auth.tenants.lifecycle import OPERATOR


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    chosen = parser().parse_args(arguments)
    try:
        ended = asyncio.run(run(Settings.load(), chosen))
    except (UserNotFound, TenantNotFound) as refusal:
        sys.stderr.write(f"{refusal.detail}\n")
        return 1
    sys.stdout.write(f"Ended {ended} sessions. Services refuse their access tokens within five seconds.\n")
    return 0


def parser() -> argparse.ArgumentParser:
    """Describe the arguments."""
    top = argparse.ArgumentParser(
        prog="python -m auth.sessions", description="The sessions of all people. API keys are not sessions."
    )
    commands = top.add_subparsers(dest="command", required=True)
    end = commands.add_parser("end", help="sign people out; they can sign in again")
    whose = end.add_mutually_exclusive_group(required=True)
    whose.add_argument("--user", metavar="EMAIL|ID", help="one person, in every tenant")
    whose.add_argument("--tenant", metavar="SLUG|ID", help="everybody in one tenant")
    whose.add_argument("--everybody", action="store_true", help="everybody in every tenant")
    return top


async def run(settings: Settings, chosen: argparse.Namespace) -> int:
    """End the sessions in one transaction; returns how many."""
    database = Database.from_settings(settings, "auth-sessions", pool_size=1)
    try:
        async with database.begin() as db:
            if chosen.user:
                return await operator_actions.end_for_user(
                    db, await operator_actions.find_user(db, chosen.user), actor=OPERATOR
                )
            if chosen.tenant:
                return await operator_actions.end_for_tenant(
                    db, await find_tenant(db, chosen.tenant), actor=OPERATOR
                )
            return await operator_actions.end_every_session(
                db, settings.auth_operator_tenant_id, actor=OPERATOR
            )
    finally:
        await database.close()


if __name__ == "__main__":
    sys.exit(main())

"""Runs migrations; called by every service's `migrations/env.py`."""

import os
import sys

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import NullPool

from servicekit import command_errors
from servicekit.postgres import AddressInvalid, create_engine

# Replicas that start at once take turns: the first migrates, the others find nothing to do.
LOCK = 7_263_549_018


def run(metadata: MetaData) -> None:
    """Bring the database at DATABASE_URL to the wanted revision, in one transaction.

    Alembic's command line has no place for settings, so this is the one module besides the settings that
    reads the environment.
    """
    address = os.environ.get("DATABASE_URL")
    if not address:
        sys.exit("DATABASE_URL is missing: set the address of the database to migrate.")
    try:
        # Without prepared statements: a pooler may be in between, and nothing is asked twice.
        engine = create_engine(address, "migrations", prepared_statements=False, poolclass=NullPool)
    except AddressInvalid as error:
        sys.exit(f"DATABASE_URL is invalid: {error}.")
    command_errors.run(_run(engine, metadata))


async def _run(engine: AsyncEngine, metadata: MetaData) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        await connection.run_sync(_migrate, metadata)
    await engine.dispose()


def _migrate(connection: Connection, metadata: MetaData) -> None:
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    refuse_newer(connection)
    with context.begin_transaction():
        context.run_migrations()


def refuse_newer(connection: Connection) -> None:
    """Raise CommandError, which Alembic prints, when the database is at a revision of newer code."""
    known = {script.revision for script in context.script.walk_revisions()}
    newer = set(context.get_context().get_current_heads()) - known
    if newer:
        raise CommandError(
            f"The database {connection.engine.url.database} is newer than this code, which has no revision"
            f" {', '.join(newer)}: use the newer code, or restore the backup made before the upgrade."
        )

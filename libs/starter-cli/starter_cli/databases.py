"""Databases: one with its own role for each service, brought to its newest revision."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event

import asyncpg  # type: ignore[import-untyped]  # it ships no types

from starter_cli import environment
from starter_cli.errors import Failure
from starter_cli.paths import CHECKOUT, SERVICES, Layout, database_variable, service_dir
from starter_cli.processes import PYTHON, Process, Program

REVISION = re.compile(r"^(down_)?revision\b[^=\n]*= *[\"']([^\"']+)", re.MULTILINE)


def create_and_migrate(layout: Layout, cancelled: Event) -> None:
    """Make what is missing, and migrate those databases that are behind; raises Failure."""
    try:
        behind = asyncio.run(create_missing(layout))
    except asyncpg.PostgresError as error:
        raise Failure("databases", f"Postgres says: {error}", layout.data_dir.log("postgres")) from error
    if behind:
        migrate(layout, behind, cancelled)


async def create_missing(layout: Layout) -> list[str]:
    """Make every service's role and database, and name the services whose database is behind."""
    admin = await asyncpg.connect(layout.postgres.admin_url)
    try:
        for service, name in SERVICES.items():
            await create_database(admin, name, layout.secrets[f"{service}-database"])
        await admin.execute(f"revoke all on database postgres, {layout.postgres.user} from public")
    finally:
        await admin.close()
    revisions = await asyncio.gather(*(get_revision(layout.database_url(service)) for service in SERVICES))
    by_service = dict(zip(SERVICES, revisions, strict=True))
    require_not_newer({service: revision for service, revision in by_service.items() if revision})
    return [
        service
        for service, revision in by_service.items()
        if {revision} != head_revisions(service_dir(service))
    ]


def require_not_newer(revisions: Mapping[str, str]) -> None:
    """Raise Failure when a database was migrated by newer code than this."""
    newer = [
        name for name, revision in revisions.items() if revision not in known_revisions(service_dir(name))
    ]
    if newer:
        raise Failure(
            "databases",
            f"what {', '.join(newer)} keeps is newer than this code; use the newer code again, or restore the"
            " backup made before the upgrade (docs/CHANGELOG.md)",
        )


async def create_database(admin: asyncpg.Connection, name: str, password: str) -> None:
    """Make a role and a database of one name, unless they are there; nobody else may enter it."""
    if not await admin.fetchval("select true from pg_roles where rolname = $1", name):
        await admin.execute(f'create role "{name}" login')
    # Each time, so that a new secrets file fits an old database. Passwords are URL-safe base64.
    await admin.execute(f"alter role \"{name}\" password '{password}'")
    if not await admin.fetchval("select true from pg_database where datname = $1", name):
        await admin.execute(f'create database "{name}" owner "{name}"')
        await admin.execute(f'revoke all on database "{name}" from public')


async def get_revision(url: str) -> str | None:
    """Return the revision of a database."""
    connection = await asyncpg.connect(url)
    try:
        revision: str | None = await connection.fetchval("select version_num from alembic_version")
    except asyncpg.UndefinedTableError:
        return None
    finally:
        await connection.close()
    return revision


def head_revisions(service: Path) -> set[str]:
    """Read the newest revisions out of a service's migrations; asking Alembic takes a second for each."""
    lines = revision_lines(service)
    return {name for is_down, name in lines if not is_down} - {name for is_down, name in lines if is_down}


def known_revisions(service: Path) -> set[str]:
    """Read all revisions of a service's migrations."""
    return {name for is_down, name in revision_lines(service) if not is_down}


def revision_lines(service: Path) -> list[tuple[str, str]]:
    """Read the lines that name a revision, each with what stands before the word: `down_` or nothing."""
    files = (service / "migrations" / "versions").glob("*.py")
    return [match for file in files for match in REVISION.findall(file.read_text())]


def migrate(layout: Layout, services: Sequence[str], cancelled: Event) -> None:
    """Run the migrations of services; raises Failure."""
    addresses = {database_variable(service): layout.database_url(service) for service in services}
    program = Program(
        name="migrations",
        argv=[*PYTHON, "starter_cli.migrations", *services],
        cwd=CHECKOUT,
        environment={**environment.python_variables(), **addresses},
        log=layout.data_dir.log("migrations"),
    )
    Process(program).wait(cancelled)

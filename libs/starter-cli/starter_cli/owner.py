"""The first tenant and its owner, and people made by hand later."""

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Event

from starter_cli import environment
from starter_cli.errors import Failure
from starter_cli.paths import Layout, service_dir
from starter_cli.processes import PYTHON

EMAIL = "owner@example.com"
TENANT = "Acme Demo"
SLUG = "demo"
# The exit code with which `auth users seed` says in one line why it changed nothing.
REFUSED_EXIT_CODE = 1


class SeedRefused(Failure):
    """Auth has changed nothing, and says why in a sentence."""


@dataclass(frozen=True)
class Owner:
    """Somebody who can sign in."""

    email: str
    password: str
    tenant_name: str


def first_owner(layout: Layout) -> Owner:
    """Return the owner of the first tenant."""
    return Owner(EMAIL, layout.secrets["owner-password"], TENANT)


def ensure_exists(layout: Layout, cancelled: Event) -> None:
    """Make the first tenant and its owner, unless an earlier run on the same databases has."""
    marker, databases = layout.data_dir.databases / "first-tenant", databases_location(layout)
    if (marker.exists() and marker.read_text() == databases) or cancelled.is_set():
        return
    options = ["--email", EMAIL, "--tenant-name", TENANT, "--tenant-slug", SLUG, "--role", "owner"]
    with suppress(SeedRefused):  # the owner is there, and has changed since
        seed(layout, options, layout.secrets["owner-password"])
    marker.write_text(databases)


def databases_location(layout: Layout) -> str:
    """Return where the databases are; a folder that was copied may have new, empty ones elsewhere."""
    note = layout.data_dir.databases / "home"
    return note.read_text() if note.exists() else "here"


def seed(layout: Layout, options: Sequence[str], password: str | None) -> str:
    """Create a tenant and somebody in it whose address counts as verified; return what auth prints.

    Raises Refused with auth's reason, or Failure. Without a password, an existing person keeps theirs.
    """
    log = layout.data_dir.log("seed")
    result = subprocess.run(  # noqa: S603
        [
            *PYTHON,
            "auth",
            "users",
            "seed",
            *options,
            *(["--password-stdin"] if password else []),
        ],
        input=password or "",
        capture_output=True,
        text=True,
        check=False,
        cwd=service_dir("auth"),
        env=environment.for_service(layout, "auth"),
        start_new_session=True,
    )
    log.write_text(result.stdout + result.stderr)
    if result.returncode == REFUSED_EXIT_CODE and result.stderr.count("\n") == 1:
        raise SeedRefused("users seed", result.stderr.strip())
    if result.returncode != 0:
        raise Failure("users seed", f"it failed (exit code {result.returncode})", log)
    return result.stdout

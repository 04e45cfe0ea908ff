"""The first tenant and its owner, and people made by hand later."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event

from starter_cli import environment
from starter_cli.failures import Failure
from starter_cli.layout import Layout, service_folder

EMAIL = "owner@example.com"
TENANT = "Acme Demo"
SLUG = "demo"


@dataclass(frozen=True)
class Owner:
    """Somebody who can sign in."""

    email: str
    password: str
    tenant_name: str


def of(layout: Layout) -> Owner:
    """Give the owner of the first tenant."""
    return Owner(EMAIL, layout.secrets["owner-password"], TENANT)


def ensure(layout: Layout, cancelled: Event) -> None:
    """Make the first tenant and its owner, unless an earlier run on the same databases has."""
    made = layout.folders.databases / "first-tenant"
    if made.exists() or cancelled.is_set():
        return
    options = ["--email", EMAIL, "--tenant-name", TENANT, "--tenant-slug", SLUG, "--role", "owner"]
    seed(layout, options, layout.secrets["owner-password"])
    made.write_text(f"{EMAIL}\n")


def seed(layout: Layout, options: Sequence[str], password: str) -> str:
    """Make a tenant and somebody in it whose address counts as verified; gives what auth says about it."""
    log = layout.folders.log("seed")
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-P", "-m", "auth.seed", *options, "--password-stdin"],
        input=password,
        capture_output=True,
        text=True,
        check=False,
        cwd=service_folder("auth"),
        env=environment.of_service(layout, "auth"),
        start_new_session=True,
    )
    log.write_text(done.stdout + done.stderr)
    if done.returncode != 0:
        raise Failure("auth.seed", f"it failed (exit code {done.returncode})", log)
    return done.stdout

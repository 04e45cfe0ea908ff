"""Commands that run as a service of the running stack would: with its settings and in its folder."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types

from starter_cli import environment, run_file
from starter_cli.errors import Failure
from starter_cli.paths import SERVICES, Folders, service_folder


def become(folders: Folders, service: str, command: list[str]) -> None:
    """Become a command of a service; raises Failure when the stack does not run or has no such service."""
    if service not in SERVICES:
        raise Failure("exec", f"there is no service {service}; choose one of {', '.join(SERVICES)}")
    given = environment_of(folders, service)
    os.chdir(service_folder(service))
    os.execvpe(command[0], command, given)  # noqa: S606  # what the operator types


def environment_of(folders: Folders, service: str) -> Mapping[str, str]:
    """Return what a service was started with, or would be, with the programs of this Python first."""
    given = environment.of_service(run_file.layout(folders), service)
    pid = next(part.pid for part in run_file.read(folders).parts if part.name == service)
    if pid is not None:
        with suppress(psutil.Error):
            started_with: dict[str, str] = psutil.Process(pid).environ()
            # The number may be somebody else's by now.
            if started_with.get("PORT") == given["PORT"]:
                given = started_with
    path = f"{Path(sys.executable).parent}:{given.get('PATH', os.defpath)}"
    return {**given, "PATH": path, "PYTHONSAFEPATH": "1"}

"""Commands that run as a service of the running stack would: with its settings and in its folder."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types

from starter_cli import environment, run_file
from starter_cli.errors import Failure
from starter_cli.paths import SERVICES, DataDir, service_dir


def exec_as_service(data_dir: DataDir, service: str, command: list[str]) -> None:
    """Become a command of a service; raises Failure when the stack does not run or has no such service."""
    if service not in SERVICES:
        raise Failure("exec", f"there is no service {service}; choose one of {', '.join(SERVICES)}")
    variables = environment_of(data_dir, service)
    os.chdir(service_dir(service))
    os.execvpe(command[0], command, variables)  # noqa: S606  # what the operator types


def environment_of(data_dir: DataDir, service: str) -> Mapping[str, str]:
    """Return what a service was started with, or would be, with the programs of this Python first."""
    variables = environment.for_service(run_file.load_layout(data_dir), service)
    pid = next(component.pid for component in run_file.read(data_dir).components if component.name == service)
    if pid is not None:
        with suppress(psutil.Error):
            started_with: dict[str, str] = psutil.Process(pid).environ()
            # The number may be somebody else's by now.
            if started_with.get("PORT") == variables["PORT"]:
                variables = started_with
    path = f"{Path(sys.executable).parent}:{variables.get('PATH', os.defpath)}"
    return {**variables, "PATH": path, "PYTHONSAFEPATH": "1"}

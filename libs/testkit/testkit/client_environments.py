"""Environments of the clients that tests run, each as its lock names it: installed once for all checkouts.

`python -m testkit.client_environments FOLDERS` installs those of the tests in these folders, or all, and
prints the names of those that cannot be installed here. `lock` in place of folders resolves Python's again.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from testkit.pacts import ROOT

# Names of environments, which `make test` has found that it cannot install.
MISSING = "MISSING_CLIENTS"
NODE_LOCK = "package-lock.json"
# Its time is that of the last use.
READY = ".ready"
UV = Path(sys.executable).with_name("uv")
INSTALL_SECONDS = 600
UNUSED_AFTER_SECONDS = 30 * 24 * 3600


def cache() -> Path:
    """Return the folder that all checkouts of a person share, or one of this checkout where none can be."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        (home / "acme").mkdir(parents=True, exist_ok=True)
    except OSError:
        return ROOT / ".acme"
    return home / "acme"


CACHE = cache()
INSTALLED = CACHE / "clients"


def locks() -> dict[str, Path]:
    """Return the lock of each environment: `auth-node`, `chat-agent-current`."""
    paths = [path for name in (NODE_LOCK, "*.lock") for path in ROOT.glob(f"*/*/tests/clients/*/{name}")]
    return {f"{path.parents[3].name}-{short_name(path)}": path for path in sorted(paths)}


def short_name(lock: Path) -> str:
    """Return what an environment is called among those of the same tests."""
    return lock.parent.name if lock.name == NODE_LOCK else lock.stem


def available() -> set[str]:
    """Return the environments whose clients can be tried."""
    has_node = shutil.which("node") and shutil.which("npm")
    usable = {name for name, lock in locks().items() if has_node or lock.name != NODE_LOCK}
    return usable - set(os.environ.get(MISSING, "").split())


def installed(name: str) -> Path:
    """Return the folder of an environment, which is installed first where it is not yet."""
    lock = locks()[name]
    python = f"{sys.base_prefix} {sys.version}"
    digest = hashlib.sha256(lock.read_bytes() + python.encode()).hexdigest()[:16]
    folder = INSTALLED / f"{name}-{digest}"
    with locked(name):
        for one in INSTALLED.glob(f"{name}-*"):
            if is_unused(one / READY):
                shutil.rmtree(one)
        if not folder.exists():
            folder.mkdir()
            install(lock, folder)
        (folder / READY).touch()
    return folder


def is_unused(ready: Path) -> bool:
    """Return whether an environment is incomplete, or has not been used for a month."""
    return not ready.exists() or ready.stat().st_mtime < time.time() - UNUSED_AFTER_SECONDS


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Allow one process at a time to install an environment."""
    INSTALLED.mkdir(parents=True, exist_ok=True)
    with (INSTALLED / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install(lock: Path, folder: Path) -> None:
    """Fill the folder of an environment."""
    if lock.name == NODE_LOCK:
        for name in ("package.json", NODE_LOCK, ".npmrc"):
            shutil.copy(lock.with_name(name), folder)
        run(["npm", "ci", "--ignore-scripts"], folder)
        return
    run([str(UV), "venv", "--quiet", "--allow-existing", "--python", sys.executable, "."], folder)
    sync = [str(UV), "pip", "sync", "--quiet", "--require-hashes"]
    run([*sync, "--python", "bin/python", str(lock)], folder)


def run(command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a program, and return what it prints; raises RuntimeError where it fails."""
    done = subprocess.run(  # noqa: S603  # our own words
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        check=False,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)[:200]}: {done.stderr[-2000:]}")
    return done.stdout


def install_all(folders: Sequence[str]) -> None:
    """Install what can be installed; print the names of the rest, and on the error output why."""
    chosen = [ROOT / folder for folder in folders] or [ROOT]
    for name in sorted(available()):
        if any(locks()[name].is_relative_to(folder) for folder in chosen):
            try:
                installed(name)
            except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
                sys.stderr.write(f"clients of {name!r}: not tested, they cannot be installed: {error}\n")
                sys.stdout.write(f"{name}\n")


def lock_all() -> None:
    """Resolve the newest versions of Python's packages, for every platform."""
    options = ["--universal", "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url"]
    command = [str(UV), "pip", "compile", "--quiet", "--python-version", "3.11", "--upgrade", *options]
    for lock in locks().values():
        if lock.name != NODE_LOCK:
            run([*command, "--output-file", lock.name, f"{lock.stem}.in"], lock.parent)


if __name__ == "__main__":
    lock_all() if sys.argv[1:] == ["lock"] else install_all(sys.argv[1:])

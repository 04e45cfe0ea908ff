"""The clients' own environments, each as its lock names it: installed once, and used again by the next run.

`python environments.py` installs all of them, and prints the names of those that cannot be installed here.
`python environments.py lock` resolves Python's again, to the newest versions.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
INSTALLED = HERE.parents[3] / ".acme" / "clients"
PYTHON = tuple(sorted(lock.stem for lock in HERE.glob("python/*.lock")))
NODE = "node"
# Names of environments, which `make test` has found that it cannot install.
MISSING = "MISSING_CLIENTS"
UV = Path(sys.executable).with_name("uv")


def available() -> set[str]:
    """Return the environments whose clients can be tried."""
    has_node = shutil.which("node") and shutil.which("npm")
    every = {*PYTHON, NODE} if has_node else set(PYTHON)
    return every - set(os.environ.get(MISSING, "").split())


def installed(name: str) -> Path:
    """Return the folder of an environment, which is installed first where it is not yet."""
    with locked(name):
        folder = INSTALLED / f"{name}-{digest(name)}"
        if not (folder / ".ready").exists():
            for old in INSTALLED.glob(f"{name}-*"):
                shutil.rmtree(old)
            folder.mkdir()
            installer(name)(folder)
            (folder / ".ready").touch()
    return folder


def digest(name: str) -> str:
    """Return what tells an environment from one of another lock, or for another Python."""
    lock = HERE / "node/package-lock.json" if name == NODE else HERE / f"python/{name}.lock"
    return hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Let one process at a time install an environment."""
    INSTALLED.mkdir(parents=True, exist_ok=True)
    with (INSTALLED / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def installer(name: str) -> Callable[[Path], None]:
    """Return the function that fills the folder of an environment."""

    def install_python(folder: Path) -> None:
        run([str(UV), "venv", "--quiet", "--allow-existing", "--python", sys.executable, "."], folder)
        lock = str(HERE / f"python/{name}.lock")
        run([str(UV), "pip", "sync", "--quiet", "--require-hashes", "--python", "bin/python", lock], folder)

    return install_node if name == NODE else install_python


def install_node(folder: Path) -> None:
    """Install the packages of node."""
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(HERE / "node" / name, folder)
    run(["npm", "ci", "--ignore-scripts"], folder)


def run(command: list[str], folder: Path, env: dict[str, str] | None = None) -> str:
    """Run a program, and return what it prints."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)[:200]}: {done.stderr[-2000:]}")
    return done.stdout


def install_all() -> None:
    """Install what can be installed; print the names of the rest, and say on the error output why."""
    for name in sorted(available()):
        try:
            installed(name)
        except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
            sys.stderr.write(f"clients of {name!r}: not tested, they cannot be installed: {error}\n")
            sys.stdout.write(f"{name}\n")


def lock_all() -> None:
    """Resolve the newest versions for every platform."""
    options = [
        "--universal",
        "--generate-hashes",
        "--no-header",
        "--no-annotate",
        "--upgrade",
        "--no-emit-index-url",
    ]
    for name in PYTHON:
        wanted, lock = f"python/{name}.in", f"python/{name}.lock"
        command = [str(UV), "pip", "compile", "--quiet", "--python-version", "3.11", *options]
        run([*command, "--output-file", lock, wanted], HERE)


if __name__ == "__main__":
    lock_all() if sys.argv[1:] == ["lock"] else install_all()

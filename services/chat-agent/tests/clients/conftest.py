"""Clients in JavaScript: their tests are there only where node is; `make test` says so otherwise."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

HERE = Path(__file__).parent
collect_ignore = [] if shutil.which("node") and shutil.which("npm") else ["test_clients.py"]


@pytest.fixture(scope="session")
def clients(pytestconfig: pytest.Config) -> Path:
    """Give a folder where the clients are installed, as package-lock.json names them; it is kept."""
    lock = (HERE / "package-lock.json").read_bytes()
    installed = pytestconfig.rootpath / ".acme" / "clients" / hashlib.sha256(lock).hexdigest()[:16]
    if not installed.exists():
        installed.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=installed.parent) as folder:
            half = Path(folder, "half")
            half.mkdir()
            for name in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(HERE / name, half)
            run(["npm", "ci", "--ignore-scripts"], half)
            half.rename(installed)
    return installed / "node_modules"


@pytest.fixture
def node(clients: Path, tmp_path: Path) -> Callable[..., Any]:
    """Give a function that runs one of the scripts beside this as somebody, and gives what it prints."""
    (tmp_path / "node_modules").symlink_to(clients)

    def script(name: str, person: httpx.Client, path: str, **received: object) -> Any:
        shutil.copy(HERE / name, tmp_path)
        token = person.headers["authorization"].removeprefix("Bearer ")
        request = {"url": f"{str(person.base_url).rstrip('/')}{path}", "token": token, **received}
        return json.loads(run(["node", name, json.dumps(request)], tmp_path))

    return script


def run(command: list[str], folder: Path) -> str:
    """Run a program, and give what it prints."""
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"{command[0]} (Node.js 20 or newer is needed): {done.stderr[-2000:]}"
    return done.stdout

"""The scripts in `node/`, run by Node.js with packages of their own; only where node is installed."""

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from testkit import client_environments

FOLDER = Path(__file__).parent / "node"
INSTALLED = client_environments.CACHE / "node"
NODE, NPM = shutil.which("node") or "", shutil.which("npm") or ""
IS_AVAILABLE = bool(NODE and NPM)
SECONDS = 240


def installed() -> Path:
    """Return a folder with the scripts and the packages of package-lock.json; it is made once."""
    digest = hashlib.sha256()
    for file in sorted(FOLDER.iterdir()):
        digest.update(file.read_bytes())
    folder = INSTALLED / digest.hexdigest()[:16]
    with client_environments.locked("node-scripts"):
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=folder.parent) as temporary:
                copy = shutil.copytree(FOLDER, Path(temporary, "copy"))
                client_environments.run([NPM, "ci", "--ignore-scripts"], copy)
                copy.rename(folder)
    return folder


def has_browser() -> bool:
    """Return whether there is a browser for this machine, beside node."""
    return IS_AVAILABLE and (sys.platform, platform.machine()) == ("linux", "x86_64")


def try_demo(url: str, email: str, password: str, services: Sequence[str], example: str) -> dict[str, Any]:
    """Use the demo of a stack, and a page like it, in a browser; returns what a person saw, and problems."""
    request = json.dumps(
        {"url": url, "email": email, "password": password, "services": services, "example": example}
    )
    seen: dict[str, Any] = json.loads(run("demo.mjs", request))
    return seen


def open_client_in_tabs(url: str, email: str, password: str, folder: Path) -> dict[str, Any]:
    """Use the client library of a folder in two tabs; returns what happened to their session."""
    request = json.dumps({"url": url, "email": email, "password": password, "folder": str(folder)})
    result: dict[str, Any] = json.loads(run("client_tabs.mjs", request))
    return result


def parse_streams(streams: Sequence[Sequence[str]]) -> list[list[list[str]]]:
    """Return the events (type, data, id) that eventsource-parser reads in streams of chunks in base64."""
    events: list[list[list[str]]] = json.loads(run("parse.mjs", stdin=json.dumps(streams)))
    return events


def run(script: str, *arguments: str, stdin: str | None = None) -> str:
    """Run a script to its end; returns what it prints, raises CalledProcessError."""
    done = subprocess.run(  # noqa: S603  # a script of ours
        [NODE, script, *arguments],
        input=stdin,
        cwd=installed(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=SECONDS,
    )
    return done.stdout


@contextmanager
def event_source(url: str, token: str, types: Sequence[str]) -> Iterator[Iterator[dict[str, Any]]]:
    """Open an EventSource; yields what it hears, as it comes, until it closes."""
    request = json.dumps({"url": url, "token": token, "types": types})
    with subprocess.Popen(  # noqa: S603  # a script of ours
        [NODE, "event_source.mjs", request], cwd=installed(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        deadline = threading.Timer(SECONDS, process.kill)
        deadline.start()
        try:
            yield map(json.loads, process.stdout)
        finally:
            deadline.cancel()
            process.kill()

"""The scripts in `node/`, run by Node.js with packages of their own; only where node is installed."""

import hashlib
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FOLDER = Path(__file__).parent / "node"
INSTALLED = Path(__file__).parents[3] / ".acme" / "node"
NODE, NPM = shutil.which("node") or "", shutil.which("npm") or ""
IS_AVAILABLE = bool(NODE and NPM)
SECONDS = 240


def installed() -> Path:
    """Return a folder with the scripts and the packages of package-lock.json; it is made once."""
    digest = hashlib.sha256()
    for file in sorted(FOLDER.iterdir()):
        digest.update(file.read_bytes())
    folder = INSTALLED / digest.hexdigest()[:16]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent) as temporary:
            copy = shutil.copytree(FOLDER, Path(temporary, "copy"))
            command = [NPM, "ci", "--ignore-scripts"]
            subprocess.run(command, cwd=copy, check=True, timeout=SECONDS)  # noqa: S603  # our own folder
            copy.rename(folder)
    return folder


def parse_streams(streams: Sequence[Sequence[str]]) -> list[list[list[str]]]:
    """Return the events (type, data, id) that eventsource-parser reads in streams of chunks in base64."""
    done = subprocess.run(  # noqa: S603  # a script of ours
        [NODE, "parse.mjs"],
        input=json.dumps(streams),
        cwd=installed(),
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS,
    )
    events: list[list[list[str]]] = json.loads(done.stdout)
    return events


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

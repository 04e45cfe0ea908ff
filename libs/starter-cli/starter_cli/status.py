"""What of a running stack answers at this moment."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil  # type: ignore[import-untyped]  # it ships no types

from starter_cli import disk, run_file
from starter_cli.paths import Folders
from starter_cli.processes import answers, fetch
from starter_cli.run_file import PartRecord

OK = "ok"
NOT_READY = "not ready"


def of(folders: Folders) -> Iterator[tuple[PartRecord, str]]:
    """Give each part with a word for how it is; raises Failure when no stack was started here."""
    parts = run_file.read(folders).parts
    with ThreadPoolExecutor(len(parts)) as pool:
        yield from zip(parts, pool.map(state, parts), strict=True)


def state(part: PartRecord) -> str:
    """Tell how one part is: ok, starting, gone, not ready or why it does not come up."""
    if part.problem:
        return f"does not start: {part.problem}"
    if part.pid is None:
        return "starting"
    if not psutil.pid_exists(part.pid):
        return "gone"
    if part.ready_url is None or answers(part.ready_url):
        return OK
    failing = ", ".join(failing_checks(part.ready_url))
    return f"{NOT_READY}: {failing}" if failing else NOT_READY


def failing_checks(url: str) -> list[str]:
    """Name what a service waits for, as its /readyz says."""
    with suppress(ValueError, AttributeError):
        checks = json.loads(fetch(url)[1]).get("checks", {})
        return [f"{name} ({outcome})" for name, outcome in checks.items() if outcome != OK]
    return []


def problems(folders: Folders) -> Mapping[str, str]:
    """Name what runs and does not work: parts that are not ready, and a disk that is nearly full."""
    found = {part.name: state for part, state in of(folders) if state.startswith(NOT_READY)}
    shortage = disk.shortage(folders, disk.LEAST_TO_RUN)
    return {**found, **({"disk": shortage} if shortage else {})}

"""What of a running stack answers at this moment."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil  # type: ignore[import-untyped]  # it ships no types

from starter_cli import disk, run_file
from starter_cli.paths import DataDir
from starter_cli.processes import fetch, is_ready
from starter_cli.run_file import ComponentRecord

OK = "ok"
NOT_READY = "not ready"


def component_states(data_dir: DataDir) -> Iterator[tuple[ComponentRecord, str]]:
    """Return each component with its state; raises Failure when no stack was started here."""
    components = run_file.read(data_dir).components
    with ThreadPoolExecutor(len(components)) as pool:
        yield from zip(components, pool.map(component_state, components), strict=True)


def component_state(component: ComponentRecord) -> str:
    """Return the state of one component: ok, starting, gone, not ready or why it does not come up."""
    if component.problem:
        return f"does not start: {component.problem}"
    if component.pid is None:
        return "starting"
    if not psutil.pid_exists(component.pid):
        return "gone"
    if component.ready_url is None or is_ready(component.ready_url):
        return OK
    failing = ", ".join(failing_checks(component.ready_url))
    return f"{NOT_READY}: {failing}" if failing else NOT_READY


def failing_checks(url: str) -> list[str]:
    """Name what a service waits for, as its /readyz says."""
    with suppress(ValueError, AttributeError):
        checks = json.loads(fetch(url)[1]).get("checks", {})
        return [f"{name} ({outcome})" for name, outcome in checks.items() if outcome != OK]
    return []


def problems(data_dir: DataDir) -> Mapping[str, str]:
    """Name what runs and does not work: components that are not ready, and a disk that is nearly full."""
    not_ready = {
        component.name: state
        for component, state in component_states(data_dir)
        if state.startswith(NOT_READY)
    }
    shortage = disk.shortage(data_dir, disk.MIN_FREE_TO_RUN)
    return {**not_ready, **({"disk": shortage} if shortage else {})}

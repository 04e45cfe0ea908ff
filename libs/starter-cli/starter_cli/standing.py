"""What of a running stack answers at this moment."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil  # type: ignore[import-untyped]  # it ships no types

from starter_cli import record
from starter_cli.layout import Folders
from starter_cli.processes import answers
from starter_cli.record import PartRecord


def of(folders: Folders) -> Iterator[tuple[PartRecord, str]]:
    """Give each part with a word for how it is; raises Failure when no stack was started here."""
    parts = record.read(folders).parts
    with ThreadPoolExecutor(len(parts)) as pool:
        yield from zip(parts, pool.map(state, parts), strict=True)


def state(part: PartRecord) -> str:
    """Tell how one part is: ok, not ready, or gone."""
    if part.pid is None or not psutil.pid_exists(part.pid):
        return "gone"
    return "ok" if part.ready_url is None or answers(part.ready_url) else "not ready"

"""Whether there is room on the disk: a full one stops the databases, which say so only in their logs."""

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from starter_cli.paths import DataDir

MEGABYTE = 1 << 20
# New databases take about 100 MB, and Postgres wants room to write.
MIN_FREE_TO_START = 256 * MEGABYTE
MIN_FREE_TO_RUN = 64 * MEGABYTE
DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)


def shortage(data_dir: DataDir, min_free: int) -> str | None:
    """Return where less than so many bytes are free, if anywhere; there may be no folder yet."""
    for place in data_locations(data_dir):
        free = shutil.disk_usage(place).free
        if free < min_free:
            return (
                f"only {free // MEGABYTE} MB are free in {place}, and {min_free // MEGABYTE} MB are needed;"
                " Postgres and Redis stop taking changes when the disk is full"
            )
    return None


def data_locations(data_dir: DataDir) -> Iterator[Path]:
    """List where data is written: in the folder, and where Postgres has its files if it cannot enter that."""
    yield next(place for place in (data_dir.root, *data_dir.root.parents) if place.exists())
    note = data_dir.databases / "home"
    if note.exists() and (home := Path(note.read_text())).exists():
        yield home

"""Whether there is room on the disk: a full one stops the databases, which say so only in their logs."""

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from starter_cli.paths import Folders

MEGABYTE = 1 << 20
# New databases take about 100 MB, and Postgres wants room to write.
LEAST_TO_START = 256 * MEGABYTE
LEAST_TO_RUN = 64 * MEGABYTE
FULL = (errno.ENOSPC, errno.EDQUOT)


def shortage(folders: Folders, least: int) -> str | None:
    """Say where less than so many bytes are free, if anywhere; there may be no folder yet."""
    for place in places(folders):
        free = shutil.disk_usage(place).free
        if free < least:
            return (
                f"only {free // MEGABYTE} MB are free in {place}, and {least // MEGABYTE} MB are needed;"
                " Postgres and Redis stop taking changes when the disk is full"
            )
    return None


def places(folders: Folders) -> Iterator[Path]:
    """List where data is written: in the folder, and where Postgres has its files if it cannot enter that."""
    yield next(place for place in (folders.root, *folders.root.parents) if place.exists())
    note = folders.databases / "home"
    if note.exists() and (home := Path(note.read_text())).exists():
        yield home

"""Where an address is, roughly: from a database of MaxMind's format, if there is one."""

from pathlib import Path
from typing import Any

import maxminddb


class Places:
    """Looks addresses up in a database file; without one, nobody is anywhere."""

    def __init__(self, database: Path | None) -> None:
        # In memory, so that a file that is replaced under us harms nobody.
        self._reader = maxminddb.open_database(database, maxminddb.MODE_MEMORY) if database else None

    def find(self, address: str) -> str | None:
        """Name the town and country of an address, as far as they are known."""
        if self._reader is None:
            return None
        try:
            found = self._reader.get(address.partition("/")[0])
        except ValueError:
            return None
        names = [name for part in ("city", "country") if (name := english(found, part))]
        return ", ".join(names) or None


def english(found: Any, part: str) -> str | None:
    """Take the English name of a part of a record."""
    try:
        name = found[part]["names"]["en"]
    except (KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None

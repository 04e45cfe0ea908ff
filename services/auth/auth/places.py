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
        found = self._look_up(address)
        names = [name for part in ("city", "country") if (name := text_in(found, part, "names", "en"))]
        return ", ".join(names) or None

    def country(self, address: str) -> str | None:
        """Give the country of an address (ISO 3166-1 alpha-2), if it is known."""
        return text_in(self._look_up(address), "country", "iso_code")

    def _look_up(self, address: str) -> Any:
        try:
            return self._reader and self._reader.get(address.partition("/")[0])
        except ValueError:
            return None


def text_in(found: Any, *path: str) -> str | None:
    """Take a text out of a record, if it is there."""
    try:
        for name in path:
            found = found[name]
    except (KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None

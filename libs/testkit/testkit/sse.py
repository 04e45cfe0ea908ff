"""Server-sent events, as a client reads them (WHATWG HTML 9.2)."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """One event: its id, its type, and its JSON."""

    id: int
    type: str
    data: dict[str, Any]


def events(lines: Iterable[str]) -> Iterator[Event]:
    """Read events from a stream's lines as they come (`response.iter_lines()`), and pass comments over."""
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line and fields:
            yield Event(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            fields = {}

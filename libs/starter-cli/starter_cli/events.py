"""Reads the event stream of a run (text/event-stream, WHATWG HTML 9.2) as it comes in."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

TERMINAL = frozenset({"run.completed", "run.failed", "run.cancelled", "run.waiting"})


@dataclass(frozen=True)
class RunEvent:
    """One event of a run."""

    id: str
    type: str
    data: dict[str, Any]


def read(lines: Iterable[str]) -> Iterator[RunEvent]:
    """Give each event as soon as its last line is there; comments, which only keep it open, are left out."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if line and name:
            fields[name] = value.removeprefix(" ")
        elif not line and "data" in fields:
            yield RunEvent(fields.get("id", ""), fields.get("event", "message"), json.loads(fields["data"]))
            fields = {}

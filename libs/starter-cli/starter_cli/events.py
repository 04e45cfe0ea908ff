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


class Reader:
    """Puts events together line by line; comments, which only keep a stream open, are left out."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def feed(self, line: str) -> RunEvent | None:
        """Take a line, and give the event if it was its last."""
        name, _, value = line.partition(":")
        if line and name:
            self._fields[name] = value.removeprefix(" ")
        elif not line and "data" in self._fields:
            fields, self._fields = self._fields, {}
            return RunEvent(fields.get("id", ""), fields.get("event", "message"), json.loads(fields["data"]))
        return None


def read(lines: Iterable[str]) -> Iterator[RunEvent]:
    """Give each event as soon as its last line is there."""
    reader = Reader()
    for line in lines:
        if event := reader.feed(line):
            yield event

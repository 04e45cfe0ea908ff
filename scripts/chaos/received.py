"""What a client makes of the events that it heard."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from starter_cli.events import TERMINAL, RunEvent


@dataclass(frozen=True)
class Difference:
    """How one row of things differs from the one that it should be."""

    missing: int
    repeated: int
    disordered: int


def of_numbers(events: Sequence[RunEvent]) -> Difference:
    """Compare the numbers of events, as they came, with 1, 2, 3 … up to the highest."""
    numbers = [int(event.id) for event in events]
    distinct = set(numbers)
    descents = sum(later < earlier for earlier, later in itertools.pairwise(numbers))
    return Difference(max(numbers, default=0) - len(distinct), len(numbers) - len(distinct), descents)


def of_tokens(expected: Sequence[str], heard: Sequence[str]) -> Difference:
    """Compare what was heard, token by token, with what was said."""
    wanted, got = Counter(expected), Counter(heard)
    missing, repeated = (wanted - got).total(), (got - wanted).total()
    moved = sum(a != b for a, b in zip(expected, heard, strict=True)) if wanted == got else 0
    return Difference(missing, repeated, moved)


def tokens(events: Sequence[RunEvent]) -> list[str]:
    """Put together what was said and not withdrawn."""
    items: dict[str, list[str]] = {}
    for event in events:
        if event.type == "message.delta":
            items.setdefault(event.data["item_id"], []).append(event.data["delta"])
        elif event.type == "run.resumed":
            for withdrawn in event.data["withdrawn"]:
                items.pop(withdrawn, None)
    return [token for said in items.values() for token in said]


def resumptions(events: Sequence[RunEvent]) -> int:
    """Count how often another replica took over."""
    return sum(event.type == "run.resumed" for event in events)


def endings(events: Sequence[RunEvent]) -> int:
    """Count the terminal events, of which there should be one."""
    return sum(event.type in TERMINAL for event in events)

"""What a client makes of the events that it received."""

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


def compare_sequence_numbers(events: Sequence[RunEvent]) -> Difference:
    """Compare the numbers of events, as they came, with 1, 2, 3 … up to the highest."""
    numbers = [int(event.id) for event in events]
    distinct = set(numbers)
    descents = sum(later < earlier for earlier, later in itertools.pairwise(numbers))
    return Difference(max(numbers, default=0) - len(distinct), len(numbers) - len(distinct), descents)


def compare_tokens(expected: Sequence[str], received: Sequence[str]) -> Difference:
    """Compare what was received, token by token, with what was sent."""
    before, after = Counter(expected), Counter(received)
    missing, repeated = (before - after).total(), (after - before).total()
    moved = sum(a != b for a, b in zip(expected, received, strict=True)) if before == after else 0
    return Difference(missing, repeated, moved)


def received_tokens(events: Sequence[RunEvent]) -> list[str]:
    """Put together what was item_tokens and not withdrawn."""
    items: dict[str, list[str]] = {}
    for event in events:
        if event.type == "message.delta":
            items.setdefault(event.data["item_id"], []).append(event.data["delta"])
        elif event.type == "run.resumed":
            for withdrawn in event.data["withdrawn"]:
                items.pop(withdrawn, None)
    return [token for item_tokens in items.values() for token in item_tokens]


def count_resumptions(events: Sequence[RunEvent]) -> int:
    """Count how often another replica took over."""
    return sum(event.type == "run.resumed" for event in events)


def count_terminal_events(events: Sequence[RunEvent]) -> int:
    """Count the terminal events, of which there should be one."""
    return sum(event.type in TERMINAL for event in events)

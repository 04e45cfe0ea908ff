"""From what was heard to what it means: when the first token came, how late each was, what went wrong."""

import json
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from sandbox.tokens import pieces

from bench import client
from bench.client import Event, Heard
from bench.systems import Dialect


@dataclass(frozen=True)
class Turn:
    """One turn: the time to its first token, how late its tokens were, its length; all in milliseconds."""

    first_token: float = 0.0
    delays: Sequence[float] = ()
    whole: float = 0.0
    failure: str = ""


def read(heard: Heard, dialect: Dialect, tokens: int, rate: float) -> Turn:
    """Read one answer; it has failed unless it came to its end with all of its tokens."""
    if heard.error or client.status(heard) != 200:
        return Turn(failure=heard.error or f"status {client.status(heard)}")
    said: list[tuple[float, str]] = []
    is_over = False
    for event in client.events(heard):
        is_over = is_over or event.type == dialect.end
        if event.type == dialect.delta and (text := text_of(event, dialect)):
            said.append((event.at - heard.asked, text))
    arrivals = token_times(said)
    if not is_over or len(arrivals) != tokens:
        return Turn(failure=f"{len(arrivals)} of {tokens} tokens, {'an' if is_over else 'no'} end")
    delays = [1000 * (at - number / rate) for number, at in enumerate(arrivals)] if rate else []
    return Turn(1000 * arrivals[0], delays, 1000 * (heard.ended - heard.asked))


def text_of(event: Event, dialect: Dialect) -> str:
    """Read the text that a delta carries, if it does."""
    return str(json.loads(event.data).get(dialect.text) or "")


def token_times(said: Sequence[tuple[float, str]]) -> list[float]:
    """Tell when each token was there; a delta may carry several, or less than one."""
    ends = token_ends("".join(text for _, text in said))
    times: list[float] = []
    reached = 0
    for at, text in said:
        reached += len(text)
        times += [at] * (bisect_right(ends, reached) - len(times))
    return times


@lru_cache
def token_ends(text: str) -> Sequence[int]:
    """Tell after how many characters each token of a text ends."""
    return list(accumulate(map(len, pieces(text))))


def percentile(values: Sequence[float], share: float) -> float | None:
    """Give the value that so great a share of all does not exceed (nearest rank)."""
    if not values:
        return None
    return sorted(values)[math.ceil(len(values) * share) - 1]

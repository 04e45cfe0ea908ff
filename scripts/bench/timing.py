"""From what was exchange to what it means: when the first token came, how late each was, what went wrong."""

import json
import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from sandbox.tokens import tokenize

from scripts.bench import client
from scripts.bench.client import Event, Exchange
from scripts.bench.systems import Dialect

CODE = re.compile(rb'"code": ?"(\w+)"')


@dataclass(frozen=True)
class Turn:
    """One turn: the time to its first token, how late its tokens were, its length; all in milliseconds."""

    first_token: float = 0.0
    delays: Sequence[float] = ()
    whole: float = 0.0
    failure: str = ""


def parse_turn(exchange: Exchange, dialect: Dialect, tokens: int, rate: float) -> Turn:
    """Read one answer; it has failed unless it came to its end with all of its tokens."""
    if exchange.error or client.status(exchange) != 200:
        return Turn(
            failure=exchange.error
            or f"status {client.status(exchange)} {find_error_code(exchange.reads)}".strip()
        )
    events = list(client.events(exchange))
    deltas = [event for event in events if event.type == dialect.delta]
    arrivals = token_times([(event.at - exchange.sent_at, delta_text(event, dialect)) for event in deltas])
    if len(arrivals) != tokens or all(event.type != dialect.end for event in events):
        last = f"last {events[-1].type} {find_error_code(exchange.reads)}" if events else "no event"
        return Turn(failure=f"{len(arrivals)} of {tokens} tokens, {last.strip()}")
    delays = [1000 * (at - number / rate) for number, at in enumerate(arrivals)] if rate else []
    return Turn(1000 * arrivals[0], delays, 1000 * (exchange.ended - exchange.sent_at))


def delta_text(event: Event, dialect: Dialect) -> str:
    """Read the text that a delta carries, if it does."""
    return str(json.loads(event.data).get(dialect.text) or "")


def find_error_code(reads: Sequence[tuple[float, bytes]]) -> str:
    """Find by which name an answer says that something went wrong, if it does."""
    found = CODE.search(b"".join(data for _, data in reads[-3:]))
    return found[1].decode() if found else ""


def token_times(deltas: Sequence[tuple[float, str]]) -> list[float]:
    """Return when each token was there; a delta may carry several, or less than one."""
    ends = token_ends("".join(text for _, text in deltas))
    times: list[float] = []
    reached = 0
    for at, text in deltas:
        reached += len(text)
        times += [at] * (bisect_right(ends, reached) - len(times))
    return times


@lru_cache
def token_ends(text: str) -> Sequence[int]:
    """Return after how many characters each token of a text ends."""
    return list(accumulate(map(len, tokenize(text))))


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the value that so great a share of all does not exceed (nearest rank)."""
    if not values:
        return None
    return sorted(values)[math.ceil(len(values) * share) - 1]

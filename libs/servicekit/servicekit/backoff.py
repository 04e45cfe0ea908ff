"""Back-off, token bucket and negative cache: limits on how often a source is called."""

import random
from collections import OrderedDict
from collections.abc import Callable

Clock = Callable[[], float]


def exponential(failures: int, first: float, longest: float, factor: float = 2.0) -> float:
    """Return the pause after so many failures: `first`, then `factor` times the last, `longest` at most."""
    return min(longest, first * factor ** min(max(failures - 1, 0), 32))


def jittered(pause: float) -> float:
    """Return a random pause from half of this one to all of it, so that replicas spread out."""
    return random.uniform(pause / 2, pause)  # noqa: S311  # spreads load, keeps no secret


class Backoff:
    """The growing pause after consecutive failures.

    The step doubles up to `longest`, and up to one more step is added at random: replicas spread out, and
    none asks more than once in `longest` seconds while a source stays away.
    """

    def __init__(self, shortest: float, longest: float, clock: Clock) -> None:
        self.failures = 0
        self._until = 0.0
        self._shortest = shortest
        self._longest = longest
        self._clock = clock

    def fail(self, retry_after: float = 0) -> None:
        """Count a failure; the source may ask for a longer pause, up to the longest."""
        self.failures += 1
        pause = 2 * jittered(exponential(self.failures, self._shortest, self._longest))
        self._until = self._clock() + max(pause, min(retry_after, self._longest))

    def reset(self) -> None:
        """Reset the count of failures."""
        self.failures = 0
        self._until = 0.0

    def remaining(self) -> float:
        """Return the seconds until the next try, 0 when it may be made."""
        return max(0.0, self._until - self._clock()) if self.failures else 0.0


class TokenBucket:
    """A token bucket: `burst` at once, then one every `refill` seconds."""

    def __init__(self, burst: int, refill: float, clock: Clock) -> None:
        self._burst = burst
        self._refill = refill
        self._clock = clock
        self._level = float(burst)
        self._at = clock()

    def take(self) -> bool:
        """Consume one token; return False if the bucket is empty."""
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._at) / self._refill)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True


class NegativeCache:
    """Remembers for `ttl` seconds which names were not found: at most the last `most`."""

    def __init__(self, ttl: float, most: int, clock: Clock) -> None:
        self._ttl = ttl
        self._most = most
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()

    def add(self, name: str) -> None:
        """Remember a name, and forget the oldest when there are too many."""
        self._until[name] = self._clock() + self._ttl
        self._until.move_to_end(name)
        if len(self._until) > self._most:
            self._until.popitem(last=False)

    def __contains__(self, name: str) -> bool:
        return self._clock() < self._until.get(name, float("-inf"))

    def clear(self) -> None:
        """Delete everything."""
        self._until.clear()

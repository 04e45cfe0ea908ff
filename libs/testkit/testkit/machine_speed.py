"""How slow this machine is now, beside an idle core for which limits of processor time are set."""

import json
import time
from statistics import median

# Of the work below, on such a core. What a worst body costs grows with it: of two that were measured while
# other processes doubled both, the ratio stayed within a fifth.
REFERENCE_MILLISECONDS = 12.0
REPEATS = 5
SIZE = 10_000


def exceeds(milliseconds: float, limit: float) -> bool:
    """Return whether work took longer than a limit, also at the speed of this machine."""
    return milliseconds > limit and milliseconds > limit * slowness()


def slowness() -> float:
    """Return how many times as long the same work takes here now, at least 1."""
    # Not the least: what it is compared with had no better luck.
    return max(1.0, median(measure_work() for _ in range(REPEATS)) / REFERENCE_MILLISECONDS)


def measure_work() -> float:
    """Measure the milliseconds of processor time of some fixed work, as the reading of a request is."""
    start = time.thread_time()
    members = {f"member {number}": [number, str(number)] for number in range(SIZE)}
    assert json.loads(json.dumps(members)) == members
    return (time.thread_time() - start) * 1000

"""Texts on which expressions backtrack and normalisation swells, and how long a function takes for them.

assert find_slow({"slugs": Use(slug_of, 128)}) == []
"""

import contextlib
import importlib
import math
import pkgutil
import time
from collections.abc import Callable, Mapping
from itertools import islice
from types import ModuleType
from typing import NamedTuple

from testkit.machine_speed import exceeds

# On an idle core; what is bounded and linear takes half of it at most, what is quadratic many times as long.
MAX_MILLISECONDS = 50
# A machine that is slow for a moment is so for some attempts in a row.
ATTEMPTS = 12
# Of texts without a limit of their own: in linear time the long one takes four times as long as the short one
# does, in quadratic time sixteen times; a busy machine may double either.
SHORT, LONG, GROWTH = 5_000, 20_000, 8.0


class Use(NamedTuple):
    """A function of text that comes from outside, and the longest text that can get there; None: any."""

    function: Callable[[str], object]
    max_length: int | None


def fibonacci(size: int) -> str:
    """Make a word that is full of repetitions and is none."""
    one, two = "a", "ab"
    while len(two) < size:
        one, two = two, two + one
    return two[:size]


def thue_morse(size: int) -> str:
    """Make a word in which nothing comes three times in a row."""
    return "".join("ab"[index.bit_count() % 2] for index in range(size))


def repeating(unit: str) -> Callable[[int], str]:
    """Make texts that repeat a unit."""
    return lambda size: (unit * (size // len(unit) + 1))[:size]


def repeating_with_suffix(unit: str, end: str) -> Callable[[int], str]:
    """Make texts that repeat a unit, and end so that no expression for it fits."""
    return lambda size: repeating(unit)(size - len(end)) + end


# The Arabic ligature becomes 18 characters (NFKC); marks of different classes are sorted past one another.
PUNCTUATION = "a|A1|aab| |-|_-|.|. |a.|a-|a@|@|/|:/|0|9 |1-|(|)(|[|{|,|;|a;|&|=|%|%%|#|<|<a"
LETTERS = "\ufdfa|\ufdfa.|\u0301|\u0327\u0301|a\u0327\u0301|\u1e9e|\u0390|\u00df|\u200d|\u0958|\U0001f600"
TOKENS = "eyJ|eyJ-|eyJ.|eyJa-eyJ.|sk-|sk-a.|bearer |Bearer a|a/b+c=|AAAA|acme_ak_|v1=|t=1,|Basic |W/|user:"
WORDS = "acme|password|xn--|xn--a.|www.|dot |.com|Mozilla/5.0 (|Windows NT |; |Build/|iPhone OS 1_|Version/1."
UNITS = [one for units in (PUNCTUATION, LETTERS, TOKENS, WORDS) for one in units.split("|")]
UNITS += ['"', '"a ', "\\", '\\"', "'", "\n", "\r\n", "\t ", "\ud83d"]
FAMILIES: Mapping[str, Callable[[int], str]] = {
    **{f"{unit!r} again and again": repeating(unit) for unit in UNITS},
    **{f"{unit!r} again and again, then !": repeating_with_suffix(unit, "\u2021!") for unit in UNITS},
    "Fibonacci's word": fibonacci,
    "the word of Thue and Morse": thue_morse,
    "ligatures, and no two alike beside them": lambda size: "".join(
        f"\ufdfa{chr(0x4E00 + index)}" for index in range(size // 2)
    ),
    "no character twice": lambda size: "".join(map(chr, islice(range(0x4E00, 0x9FFF), size))),
}


def expressions(package: ModuleType, bounded: Mapping[str, int] | None = None) -> dict[str, Use]:
    """Find the regular expressions of a package; `bounded` tells the longest text that some of them see."""
    uses = {}
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(getattr(value, "pattern", None), str) and callable(value.search):
                max_length = (bounded or {}).get(name)
                uses[f"{module.name}.{name}"] = Use(value.search, max_length)
    return uses


def find_slow(uses: Mapping[str, Use]) -> list[str]:
    """Name the functions that take long for the worst of texts, or longer and longer."""
    return [
        f"{name}: {family}: {trouble}"
        for name, use in uses.items()
        for family, make in FAMILIES.items()
        if (trouble := describe_problem(use, make))
    ]


def describe_problem(use: Use, make: Callable[[int], str]) -> str:
    """Return what is wrong with how long a function takes; empty when nothing is."""
    if use.max_length is not None:
        duration = milliseconds(use.function, make(use.max_length))
        return f"{duration:.0f} ms" if exceeds(duration, MAX_MILLISECONDS) else ""
    short = long = math.inf
    for _ in range(ATTEMPTS):
        # The long one first: what is made once, at the first call, must not make the short one look slow.
        long = min(long, measure(use.function, make(LONG)))
        short = min(short, *(measure(use.function, make(SHORT)) for _ in range(2)))
        if long <= GROWTH * short + 1:
            return ""
    return f"{short:.1f} ms, and {long:.0f} ms for {LONG // SHORT} times as much"


def milliseconds(function: Callable[[str], object], text: str) -> float:
    """Measure the least processor time of some calls, or of the first one that is not too slow."""
    durations = list[float]()
    while len(durations) < ATTEMPTS and min(durations, default=math.inf) > MAX_MILLISECONDS:
        durations.append(measure(function, text))
    return min(durations)


def measure(function: Callable[[str], object], text: str) -> float:
    """Measure the milliseconds of processor time of a call."""
    start = time.thread_time()
    call(function, text)
    return (time.thread_time() - start) * 1000


def call(function: Callable[[str], object], text: str) -> None:
    """Call a function; that it refuses the text is an answer."""
    with contextlib.suppress(Exception):
        function(text)

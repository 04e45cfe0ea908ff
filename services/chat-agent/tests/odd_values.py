"""Objects in which a field is left out, or is something else than it should be."""

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


def deep(levels: int) -> Any:
    """Return lists in lists."""
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


# What a field may be that should be something else.
ODD: Any = st.sampled_from(
    [
        None,
        "",
        "x",
        0,
        1,
        -1,
        2**64,
        1.5,
        True,
        [],
        {},
        [None],
        [{}],
        {"a": None},
        "\ud83d",
        "\x00",
        "\udc00",
        "x" * 300,
        {"\ud83d": 1},
        {"a": "\x00"},
        {"a": 1e400},
        {"a": 2**64},
        deep(190),
        deep(300),
    ]
)


def walk(examples: int) -> settings:
    """Return the settings of a walk through so many examples, the same ones each time."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each field of an object."""
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for name, member in members:
        yield (*path, name)
        yield from paths_of(member, (*path, name))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return an object with another value, or without it, at the end of a path."""
    copy = json.loads(json.dumps(value))
    at = copy
    for name in path[:-1]:
        at = at[name]
    if new is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return copy


@st.composite
def odd(draw: st.DrawFn, value: Any) -> Any:
    """Leave out a field of an object, or make it something else; or two of them."""
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from([*paths_of(value)]))
        value = changed(value, path, draw(st.one_of(st.just(...), ODD)))
        if not value:
            break
    return value

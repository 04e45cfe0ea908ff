"""Prints what a plan of agents changes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from starter_cli.progress import print_line

SIGNS = {
    "create": "+",
    "update": "~",
    "unchanged": "=",
    "delete": "-",
    "added": "+",
    "removed": "-",
    "changed": "~",
    "moved": ">",
}
# Of a value in a plan.
MAX_VALUE = 60
Json = Mapping[str, Any]


def print_plan(console: Console, plan: Json) -> list[str]:
    """Print what becomes of each agent; return the names of those that change."""
    for agent in plan["agents"]:
        print_line(console, f"{SIGNS[agent['action']]} {agent['name']}: {agent['action']}")
        for line in change_lines(agent["changes"] if agent["action"] == "update" else []):
            print_line(console, f"    {line}", "dim")
    return [agent["name"] for agent in plan["agents"] if agent["action"] != "unchanged"]


def change_lines(changes: Sequence[Json]) -> Iterator[str]:
    """Yield a line for each member that differs, and for each element of lists that have some with names."""
    for change in changes:
        if elements := change.get("elements"):
            yield f"{change['path']}:"
            yield from (f"  {line}" for element in elements for line in element_lines(element))
        else:
            yield f"{change['path']}: {shortened(change['before'])} -> {shortened(change['after'])}"


def element_lines(element: Json) -> Iterator[str]:
    """Yield what became of an element of a list, and in which of its members it differs."""
    moved = f": from {element['index_before']} to {element['index_after']}"
    more = moved if element["change"] == "moved" else ""
    yield f"{SIGNS[element['change']]} {shortened(element['name'])}{more}"
    yield from (f"    {line}" for line in change_lines(element["changes"]))


def shortened(value: object) -> str:
    """Return a value on one short line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}…"

"""What stored items are that the models call tools with."""

from collections.abc import Iterable, Mapping
from typing import Any

Item = Mapping[str, Any]


def is_call(item: Item) -> bool:
    """Return whether an item is a call of a tool."""
    return item.get("type") == "function_call"


def is_output(item: Item) -> bool:
    """Return whether an item is the output of a tool's call."""
    return item.get("type") == "function_call_output"


def called_tools(items: Iterable[Item]) -> dict[str, str]:
    """Return the name of the tool that each call is of, by the call's id."""
    return {item["call_id"]: item["name"] for item in items if is_call(item)}


def answered_calls(items: Iterable[Item]) -> set[str]:
    """Return the ids of the calls whose outputs are among the items."""
    return {item["call_id"] for item in items if is_output(item)}

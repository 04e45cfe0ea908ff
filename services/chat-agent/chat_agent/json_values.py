"""Walks over JSON values."""

from collections.abc import Callable
from typing import Any


def map_json(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return a JSON value of which `change` was called with each name, text, number, truth value and null.

    Raises RecursionError.
    """
    match value:
        case dict():
            return {change(name): map_json(member, change) for name, member in value.items()}
        case list():
            return [map_json(item, change) for item in value]
    return change(value)

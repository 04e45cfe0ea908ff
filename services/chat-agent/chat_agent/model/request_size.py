"""How large the request of a model is, near enough for an estimate."""

from collections.abc import Sequence
from typing import Any

from agents import Tool

from chat_agent.model.json import encode
from chat_agent.model.request import ModelRequest

# What stands for the data of an image, a file or audio: about a thousand tokens, whatever its bytes.
DATA = "x" * 4000


class SchemaSizes:
    """The sizes of the schemas of agents' tools, each agent's measured once for a run."""

    def __init__(self) -> None:
        # With the tools: as long as they are referred to, no other objects have their ids.
        self._measured: dict[tuple[int, ...], tuple[Sequence[Tool], int]] = {}

    def of(self, tools: Sequence[Tool]) -> int:
        """Return how many characters the list of an agent's schemas has as JSON."""
        ids = tuple(map(id, tools))
        if ids not in self._measured:
            schemas = [getattr(tool, "params_json_schema", None) for tool in tools]
            self._measured[ids] = [*tools], length_of(schemas)
        return self._measured[ids][1]


def input_characters(request: ModelRequest, schemas: SchemaSizes) -> int:
    """Return how many characters are sent as JSON."""
    items = request.input if isinstance(request.input, str) else [*map(with_short_data, request.input)]
    handoffs = [handoff.input_json_schema for handoff in request.handoffs]
    size = length_of([request.system_instructions, items, handoffs])
    # The tools are in one list with the handoffs: without brackets of their own, and after a comma.
    return size + schemas.of(request.tools) - len("[]") + bool(request.tools and handoffs)


def length_of(value: object) -> int:
    """Return how many characters a value has as JSON."""
    return len(encode(value, default=str).decode())


def with_short_data(item: Any) -> Any:
    """Return an item with the same data in place of each attachment's, which may have millions of bytes."""
    content = item.get("content") if isinstance(item, dict) else None
    if not isinstance(content, list):
        return item
    return {**item, "content": [part_with_short_data(part) for part in content]}


def part_with_short_data(part: Any) -> Any:
    """Return a part of a message with the same data in place of an attachment's."""
    if not isinstance(part, dict):
        return part
    for name in ("image_url", "file_data"):
        if part.get(name):
            return {**part, name: DATA} if isinstance(part[name], str) else part
    if isinstance((part.get("input_audio") or {}).get("data"), str):
        return {**part, "input_audio": {**part["input_audio"], "data": DATA}}
    return part

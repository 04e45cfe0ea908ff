"""Which pieces of a stream are of the same tool call, where the server does not number the calls."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chat_agent.model.json import Json, storable_object
from chat_agent.model.split_text import TextJoiner, storable_text

# What some providers want to have back.
PASSED_ON = {"provider_specific_fields", "extra_content"}


@dataclass
class Call:
    """A tool call as far as it has come."""

    place: int
    # The number that the server has given; some give none, or the same to all.
    number: int | None
    id: str | None = None
    name: str | None = None
    arguments: str = ""

    @property
    def is_complete(self) -> bool:
        """Return whether its arguments are complete JSON, so that nothing can be added to them."""
        if not self.arguments.rstrip().endswith("}"):
            return False
        try:
            json.loads(self.arguments)
        except (ValueError, RecursionError):
            return False
        return True


@dataclass(frozen=True)
class Piece:
    """What a chunk has of a tool call."""

    number: int | None
    id: str | None
    name: str | None
    arguments: str


class ToolCallPieces:
    """The tool calls of one answer."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._joiners: list[TextJoiner] = []

    def place(self, pieces: Sequence[Json]) -> list[Json]:
        """Return the pieces of a chunk, each with the place of its call."""
        return [*self._placed(pieces)]

    def _placed(self, pieces: Sequence[Json]) -> Iterator[Json]:
        for position, raw in enumerate(pieces):
            piece = read_piece(raw)
            # In a list without numbers the position stands for one.
            call = self._find(piece, position if len(pieces) > 1 else None) or self._add(piece.number)
            call.id, call.name = call.id or piece.id, call.name or piece.name
            arguments = self._joiners[call.place].feed(piece.arguments)
            call.arguments += arguments
            yield {
                **storable_object({name: raw[name] for name in raw.keys() & PASSED_ON}),
                "index": call.place,
                "id": piece.id,
                "type": "function",
                "function": {"name": piece.name, "arguments": arguments},
            }

    def _add(self, number: int | None) -> Call:
        self._calls.append(Call(len(self._calls), number))
        self._joiners.append(TextJoiner())
        return self._calls[-1]

    def _find(self, piece: Piece, position: int | None) -> Call | None:
        """Return the call that a piece belongs to; none where it begins a call."""
        numbered = [call for call in self._calls if piece.number is None or call.number == piece.number]
        if piece.id is not None:
            among = numbered if piece.name else [*self._calls, *numbered]
            candidates = [call for call in among if call.id == piece.id][-1:] or numbered[-1:]
        elif piece.number is None and position is not None:
            candidates = self._calls[position : position + 1]
        else:
            candidates = numbered[-1:] or ([] if piece.name else self._calls[-1:])
        return next((call for call in candidates if not starts_call(piece, call)), None)


def starts_call(piece: Piece, call: Call) -> bool:
    """Return whether a piece begins another call than this one: some servers repeat the name, or the id."""
    if piece.id and call.id and piece.id != call.id:
        return piece.name is not None or call.is_complete
    if piece.name is None or call.name is None:
        return False
    return piece.name != call.name or (bool(piece.arguments) and call.is_complete)


def read_piece(raw: Json) -> Piece:
    """Return a piece whose fields are of the right types, or not there."""
    number, function = raw.get("index"), raw.get("function")
    function = function if isinstance(function, dict) else {}
    return Piece(
        number if isinstance(number, int) and not isinstance(number, bool) else None,
        text_or_none(raw.get("id")),
        text_or_none(function.get("name")),
        arguments_of(function.get("arguments")),
    )


def text_or_none(value: Any) -> str | None:
    """Return an id or a name; none where there is no text in it."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return storable_text(str(value)) or None


def arguments_of(value: Any) -> str:
    """Return arguments as text: some servers send the object."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value)

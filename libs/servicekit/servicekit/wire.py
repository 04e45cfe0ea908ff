"""What bodies and lists look like on the wire, in every service."""

import base64
from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

import orjson
from fastapi import Query
from pydantic import BaseModel, ConfigDict, JsonValue

from servicekit.errors import BadRequest

T = TypeVar("T")

Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.")]
Cursor = Annotated[str | None, Query(max_length=512, description="`next_cursor` of the page before.")]


class BadCursor(BadRequest):
    """The cursor is not one that this list has given out."""

    default_detail = "The cursor is not one that this list has given out. Start again without it."


class Body(BaseModel):
    """A request's body: what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid")


class Page(BaseModel, Generic[T]):
    """A part of a list, and where the next part begins."""

    items: Sequence[T]
    next_cursor: str | None = None


def encode_cursor(*position: JsonValue) -> str:
    """Make an opaque cursor of the values by which a list is sorted."""
    return base64.urlsafe_b64encode(orjson.dumps(position)).rstrip(b"=").decode()


def decode_cursor(cursor: str, *types: type) -> list[JsonValue]:
    """Read a cursor back, when it holds values of just these types; raises BadCursor."""
    try:
        position = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError as error:
        raise BadCursor from error
    if not isinstance(position, list) or [type(value) for value in position] != list(types):
        raise BadCursor
    return position

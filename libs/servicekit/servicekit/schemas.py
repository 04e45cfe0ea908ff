"""Base models of request bodies and lists, and cursors."""

import base64
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

import orjson
from fastapi import Query
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from servicekit.errors import BadRequest

T = TypeVar("T")

# Of one object: the fields of the largest request, and room for what newer clients send.
MAX_MEMBERS = 100
# How every date and time begins.
DATE = re.compile(r"\d{4}-")

Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.")]
Cursor = Annotated[str | None, Query(max_length=512, description="`next_cursor` of the page before.")]


class InvalidCursor(BadRequest):
    """The cursor is not one that this list has given out."""

    default_detail = "The cursor is not one that this list has given out. Start again without it."


def max_length(most: int) -> Callable[[object], object]:
    """Make what refuses an object of more members by one error, where each that is wrong would be another.

    For a mapping: `Annotated[dict[str, Text], Field(max_length=16), BeforeValidator(at_most(16))]`.
    """

    def check(value: object) -> object:
        if isinstance(value, dict) and len(value) > most:
            limit = {"most": most}
            raise PydanticCustomError("too_many_members", "must not have more than {most} members", limit)
        return value

    return check


def reject_numbers(value: object) -> object:
    """Reject a time that is a number, which pydantic would read as seconds since 1970."""
    if isinstance(value, int | float) or (isinstance(value, str) and not DATE.match(value)):
        raise ValueError("must be a date and a time of RFC 3339")
    return value


# A time that somebody sends.
Time = Annotated[AwareDatetime, BeforeValidator(reject_numbers)]


class BoundedModel(BaseModel):
    """An object in a request, with a maximum number of members."""

    few_members = model_validator(mode="before")(max_length(MAX_MEMBERS))


class RequestModel(BoundedModel):
    """A request's body; unknown members are rejected."""

    model_config = ConfigDict(extra="forbid")


class Page(BaseModel, Generic[T]):
    """A page of a list, and the cursor of the next page."""

    items: Sequence[T]
    next_cursor: str | None = None


def encode_cursor(*position: JsonValue) -> str:
    """Make an opaque cursor of the values by which a list is sorted."""
    return base64.urlsafe_b64encode(orjson.dumps(position)).rstrip(b"=").decode()


def decode_cursor(cursor: str, *types: type) -> list[JsonValue]:
    """Read a cursor back, when it holds values of just these types; raises InvalidCursor."""
    try:
        position = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError as error:
        raise InvalidCursor from error
    if not isinstance(position, list) or [type(value) for value in position] != list(types):
        raise InvalidCursor
    return position

"""Keyset pagination: an opaque cursor of the values by which a list is sorted."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, TypeVar
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, TypeAdapter
from servicekit.schemas import InvalidCursor, decode_cursor, encode_cursor

T = TypeVar("T")

Moment = Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]
# What the column holds; a larger number would not reach the database.
Position = Annotated[int, Field(ge=0, lt=2**31)]

BY_UPDATE = TypeAdapter(tuple[Moment, UUID])
BY_POSITION = TypeAdapter(tuple[Position])
BY_TIME = TypeAdapter(tuple[Moment, UUID, Position])


def place(cursor: str, shape: TypeAdapter[T], *types: type) -> T:
    """Decode the values after which a page starts; raise InvalidCursor."""
    try:
        return shape.validate_python(decode_cursor(cursor, *types))
    except (ValueError, OverflowError) as error:
        raise InvalidCursor from error


def after(rows: Sequence[object], limit: int, *columns: str) -> str | None:
    """Return the cursor of the next page, if there is one: `rows` then has one more than this page."""
    if len(rows) <= limit:
        return None
    return encode_cursor(*(plain(getattr(rows[limit - 1], column)) for column in columns))


def plain(value: datetime | UUID | int) -> str | int:
    """Serialize a value for a cursor."""
    if isinstance(value, int):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)

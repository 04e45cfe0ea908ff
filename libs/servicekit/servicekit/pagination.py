"""Keyset pagination: an opaque cursor of the values by which a list is sorted."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, TypeVar
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, TypeAdapter

from servicekit.schemas import InvalidCursor, decode_cursor, encode_cursor

T = TypeVar("T")

Moment = Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]
BY_TIME = TypeAdapter(tuple[Moment, UUID])


def read_cursor(cursor: str, shape: TypeAdapter[T], *types: type) -> T:
    """Return the values after which a page starts, which the cursor holds as `types`.

    Raise InvalidCursor.
    """
    try:
        return shape.validate_python(decode_cursor(cursor, *types))
    except (ValueError, OverflowError) as error:
        raise InvalidCursor from error


def next_cursor(rows: Sequence[object], limit: int, *columns: str) -> str | None:
    """Return the cursor of the next page, if there is one: `rows` then has one more than this page."""
    if len(rows) <= limit:
        return None
    return encode_cursor(*(serialize(getattr(rows[limit - 1], column)) for column in columns))


def serialize(value: datetime | UUID | int) -> str | int:
    """Return a value as a cursor holds it."""
    if isinstance(value, int):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)

"""Keyset pagination: an opaque cursor of the values by which a list is sorted."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, TypeVar, TypeVarTuple
from uuid import UUID

from pydantic import AfterValidator, TypeAdapter
from sqlalchemy import Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from servicekit.schemas import InvalidCursor, Time, decode_cursor, encode_cursor

T = TypeVar("T")
Columns = TypeVarTuple("Columns")

Moment = Annotated[Time, AfterValidator(lambda moment: moment.astimezone(UTC))]
BY_TIME = TypeAdapter(tuple[Moment, UUID])


def read_cursor(cursor: str, shape: TypeAdapter[T], *types: type) -> T:
    """Return the values after which a page starts, which the cursor holds as `types`.

    Raise InvalidCursor.
    """
    try:
        return shape.validate_python(decode_cursor(cursor, *types))
    except (ValueError, OverflowError) as error:
        raise InvalidCursor from error


def paginate(  # noqa: PLR0913  # what a page is made of
    query: Select[*Columns],
    time: InstrumentedAttribute[datetime],
    row_id: InstrumentedAttribute[UUID],
    limit: int,
    cursor: str | None,
    *,
    newest_first: bool = False,
) -> Select[*Columns]:
    """Limit a query that is sorted by a time and an id to a page and one row more, for `next_cursor`.

    Raise InvalidCursor.
    """
    order = (time, row_id)
    if cursor is not None:
        start = tuple_(*read_cursor(cursor, BY_TIME, str, str))
        query = query.where(tuple_(*order) < start if newest_first else tuple_(*order) > start)
    return query.order_by(*(one.desc() if newest_first else one for one in order)).limit(limit + 1)


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

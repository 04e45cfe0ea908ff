"""Pages of lists that are sorted by a moment and an id: an opaque cursor of both says where one begins."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, TypeVarTuple
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, TypeAdapter
from servicekit.schemas import InvalidCursor, decode_cursor, encode_cursor
from sqlalchemy import Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

Moment = Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]
Columns = TypeVarTuple("Columns")
POSITION = TypeAdapter(tuple[Moment, UUID])


def paginate(  # noqa: PLR0913  # what a page is made of
    query: Select[*Columns],
    moment: InstrumentedAttribute[datetime],
    row_id: InstrumentedAttribute[UUID],
    limit: int,
    cursor: str | None,
    *,
    newest_first: bool = False,
) -> Select[*Columns]:
    """Narrow a statement to a page and the row after it, for `after` to see; raises BadCursor."""
    order = (moment, row_id)
    if cursor:
        begin = tuple_(*read_cursor(cursor))
        query = query.where(tuple_(*order) < begin if newest_first else tuple_(*order) > begin)
    return query.order_by(*(one.desc() if newest_first else one for one in order)).limit(limit + 1)


def read_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Read the moment and the id after which a page begins; raises BadCursor."""
    try:
        return POSITION.validate_python(decode_cursor(cursor, str, str))
    except (ValueError, OverflowError) as error:
        raise InvalidCursor from error


def next_cursor(places: Sequence[tuple[datetime, UUID]], limit: int) -> str | None:
    """Return the cursor of the next page, or None where there are no more rows than the page shows."""
    if len(places) <= limit:
        return None
    moment, row_id = places[limit - 1]
    return encode_cursor(moment.isoformat(), str(row_id))

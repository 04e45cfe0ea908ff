"""Where a page of a list begins: an opaque cursor of the moment and the id by which lists are sorted."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, TypeAdapter
from servicekit.wire import BadCursor, decode_cursor, encode_cursor

Moment = Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]
PLACE = TypeAdapter(tuple[Moment, UUID])


def place(cursor: str) -> tuple[datetime, UUID]:
    """Read the moment and the id after which a page begins; raises BadCursor."""
    try:
        return PLACE.validate_python(decode_cursor(cursor, str, str))
    except (ValueError, OverflowError) as error:
        raise BadCursor from error


def after(places: Sequence[tuple[datetime, UUID]], limit: int) -> str | None:
    """Make the cursor of the next page; there is one more place than this page shows, or there is no next."""
    if len(places) <= limit:
        return None
    moment, row_id = places[limit - 1]
    return encode_cursor(moment.isoformat(), str(row_id))

"""Lists that are sorted by when things were made, newest first."""

from datetime import datetime
from uuid import UUID

from servicekit.wire import BadCursor, decode_cursor, encode_cursor


def cursor_at(moment: datetime, row_id: UUID) -> str:
    """Make the cursor of the page after a row."""
    return encode_cursor(moment.isoformat(), str(row_id))


def place(cursor: str) -> tuple[datetime, UUID]:
    """Read a cursor: what comes next was made before this; raises BadCursor."""
    moment, row_id = decode_cursor(cursor, str, str)
    try:
        found = datetime.fromisoformat(str(moment)), UUID(str(row_id))
    except ValueError:
        raise BadCursor from None
    if found[0].tzinfo is None:
        raise BadCursor
    return found

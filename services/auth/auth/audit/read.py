"""Read the audit log: a tenant's, with the permission; one's own, without."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field
from servicekit.auth.claims import SUBJECT_PATTERN
from servicekit.database import Database
from servicekit.pagination import next_cursor, paginate
from servicekit.schemas import Page
from sqlalchemy import ColumnElement, tuple_
from sqlalchemy import select as select_from
from sqlalchemy.ext.asyncio import AsyncSession

from auth.audit.record import Action
from auth.models import AuditEvent
from auth.received_events import RECEIVED_ACTION

SUBJECT = f"^{SUBJECT_PATTERN}$"
ReceivedAction = Annotated[str, Field(pattern=RECEIVED_ACTION, description="An action of another service.")]
# Of a digest so much is shown: enough to tell addresses apart, too little to look one up.
ORIGIN_DIGITS = 16
EXPORT_PAGE = 500
MAX_EXPORT = 50_000

POSITION = tuple_(AuditEvent.happened_at, AuditEvent.id)


class Event(BaseModel):
    """An event of the log; `origin` is a digest of the address, equal for equal addresses."""

    id: UUID
    happened_at: datetime
    action: str
    actor: str | None
    subject: str | None
    session_id: UUID | None
    origin: str | None
    request_id: str | None
    detail: dict[str, Any]


class AuditFilter(BaseModel):
    """The filter of a log; `since` is included, `until` is not."""

    action: Action | ReceivedAction | None = None
    subject: str | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the filter as SQL conditions."""
        conditions: list[ColumnElement[bool]] = []
        if self.action is not None:
            conditions.append(AuditEvent.action == str(self.action))
        if self.subject is not None:
            conditions.append(AuditEvent.subject == self.subject)
        if self.since is not None:
            conditions.append(AuditEvent.happened_at >= self.since)
        if self.until is not None:
            conditions.append(AuditEvent.happened_at < self.until)
        return conditions


async def page(db: AsyncSession, limit: int, cursor: str | None, *which: ColumnElement[bool]) -> Page[Event]:
    """Return a page of the log, newest first; raises InvalidCursor."""
    query = select_from(AuditEvent).where(*which)
    newest = paginate(query, AuditEvent.happened_at, AuditEvent.id, limit, cursor, newest_first=True)
    rows = (await db.scalars(newest)).all()
    following = next_cursor(rows, limit, "happened_at", "id")
    return Page(items=[to_schema(row) for row in rows[:limit]], next_cursor=following)


async def export(database: Database, *which: ColumnElement[bool]) -> AsyncIterator[bytes]:
    """Yield the log as NDJSON, oldest first, at most 50,000 lines, with no transaction open meanwhile."""
    after: Sequence[Any] | None = None
    for _ in range(MAX_EXPORT // EXPORT_PAGE):
        query = select_from(AuditEvent).where(*which)
        if after:
            query = query.where(tuple_(*after) < POSITION)
        async with database.begin() as db:
            oldest = query.order_by(AuditEvent.happened_at, AuditEvent.id).limit(EXPORT_PAGE)
            rows = (await db.scalars(oldest)).all()
        for row in rows:
            yield to_schema(row).model_dump_json().encode() + b"\n"
        if len(rows) < EXPORT_PAGE:
            return
        after = (rows[-1].happened_at, rows[-1].id)


def to_schema(row: AuditEvent) -> Event:
    """Return the schema of an event."""
    return Event(
        id=row.id,
        happened_at=row.happened_at,
        action=row.action,
        actor=row.actor,
        subject=row.subject,
        session_id=row.session_id,
        origin=row.address_digest.hex()[:ORIGIN_DIGITS] if row.address_digest else None,
        request_id=row.request_id,
        detail=row.detail,
    )

"""Stores what other services record in the audit log; the id of the event is the id of the row."""

from servicekit.events.outbox import ReceivedEvent
from servicekit.events.relay import Handler
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth.audit.record import log_on_commit
from auth.models import AuditEvent
from auth.received_events import AuditRecorded


async def store(db: AsyncSession, received: ReceivedEvent) -> None:
    """Store the row of an event, once; it happened when the event says."""
    event = AuditRecorded.model_validate(received.data)
    what = {**event.model_dump(), "subject": event.actor}
    row = insert(AuditEvent).values(id=received.id, happened_at=received.time, **what)
    if await db.scalar(row.on_conflict_do_nothing().returning(AuditEvent.id)):
        log_on_commit(db, received.id, what)


HANDLERS: dict[str, Handler] = {"billing.audit.recorded.v1": store, "chat.audit.recorded.v1": store}

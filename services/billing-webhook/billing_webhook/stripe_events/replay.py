"""What operators do with dispatches: list them, and have them processed again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from servicekit.database import wake_on_commit
from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.elements import SQLCoreOperations

from billing_webhook import audit
from billing_webhook.audit import OPERATOR, AuditAction
from billing_webhook.errors import DispatchAlreadyCompleted, DispatchNotFound, DispatchRunning
from billing_webhook.models import StripeDispatch, StripeEvent
from billing_webhook.settings import Settings
from billing_webhook.stripe_events.envelope import Envelope
from billing_webhook.stripe_events.receive import DISPATCHES, RECEIVED, dispatch, status_of


@dataclass(frozen=True)
class Selection:
    """Which dispatches an operator means; None is any."""

    dispatch_id: UUID | None = None
    event_id: str | None = None
    handler: str | None = None
    status: str | None = None
    type: str | None = None
    tenant: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions of a query."""
        exact = {
            StripeDispatch.id: self.dispatch_id,
            StripeDispatch.event_id: self.event_id,
            StripeDispatch.handler: self.handler,
            StripeDispatch.status: self.status,
            StripeDispatch.tenant_id: self.tenant,
            StripeEvent.type: self.type,
        }
        conditions = [column == value for column, value in exact.items() if value is not None]
        if self.since is not None:
            conditions.append(StripeDispatch.created_at >= self.since)
        if self.until is not None:
            conditions.append(StripeDispatch.created_at < self.until)
        return conditions


@dataclass(frozen=True)
class DispatchLine:
    """A dispatch, as an operator sees it; nothing of the event's payload."""

    id: UUID
    status: str
    handler: str
    type: str
    event_id: str
    tenant_id: UUID | None
    attempts: int
    age_seconds: int
    next_attempt_at: datetime | None
    last_error: str | None


async def list_dispatches(db: AsyncSession, selection: Selection, limit: int) -> list[DispatchLine]:
    """Return the newest of the selected dispatches."""
    age = func.floor(func.extract("epoch", func.now() - StripeDispatch.created_at))
    columns = (
        StripeDispatch.id,
        StripeDispatch.status,
        StripeDispatch.handler,
        StripeEvent.type,
        StripeDispatch.event_id,
        StripeDispatch.tenant_id,
        StripeDispatch.attempts,
        age.label("age_seconds"),
        StripeDispatch.next_attempt_at,
        StripeDispatch.last_error,
    )
    query = _selected(selection, *columns).order_by(StripeDispatch.created_at.desc()).limit(limit)
    return [
        DispatchLine(**{**row._mapping, "age_seconds": int(row.age_seconds)})
        for row in await db.execute(query)
    ]


def _selected(selection: Selection, *columns: SQLCoreOperations[Any]) -> Select[Any]:
    query = select(*columns).join(StripeEvent, StripeEvent.id == StripeDispatch.event_id)
    return query.where(*selection.conditions())


@dataclass(frozen=True)
class Replay:
    """Who has dispatches processed again, and why; `force` includes those that were completed."""

    operator: str
    reason: str
    force: bool = False


async def replay(db: AsyncSession, selection: Selection, replay: Replay) -> Sequence[UUID]:
    """Have the selected dispatches processed again, now and with all attempts, and return their ids.

    Raises DispatchNotFound, DispatchAlreadyCompleted or DispatchRunning, and then changes nothing.
    """
    chosen = _selected(selection, StripeDispatch.id).with_for_update(of=StripeDispatch)
    ids = (await db.scalars(chosen)).all()
    if not ids:
        raise DispatchNotFound
    statuses = set(await db.scalars(select(StripeDispatch.status).where(StripeDispatch.id.in_(ids))))
    if "running" in statuses:
        raise DispatchRunning
    if "completed" in statuses and not replay.force:
        raise DispatchAlreadyCompleted
    again = update(StripeDispatch).where(StripeDispatch.id.in_(ids))
    await db.execute(
        again.values(
            status="pending",
            attempts=0,
            waits=0,
            next_attempt_at=func.now(),
            replayed_at=func.now(),
            replayed_by=replay.operator,
            replay_reason=replay.reason,
        )
    )
    if replay.force:
        await record_forced(db, ids)
    wake_on_commit(db, DISPATCHES)
    return [UUID(str(each)) for each in ids]


async def record_forced(db: AsyncSession, ids: Sequence[UUID]) -> None:
    """Record in the audit log of each tenant how many of its events an operator has had applied again."""
    query = select(StripeDispatch.tenant_id, func.count()).where(StripeDispatch.id.in_(ids))
    for tenant_id, count in await db.execute(query.group_by(StripeDispatch.tenant_id)):
        if tenant_id is not None:
            audit.record(db, OPERATOR, AuditAction.EVENTS_REPLAYED, tenant_id=tenant_id, dispatches=count)


async def dispatch_event(db: AsyncSession, event_id: str, settings: Settings) -> None:
    """Create the dispatches that a stored event lacks, as when its type has got a handler since."""
    event = await db.get(StripeEvent, event_id, with_for_update=True)
    if event is None or event.payload is None:
        raise DispatchNotFound(f"The event {event_id} is not stored, or past its retention.")
    envelope = Envelope.model_validate_json(event.payload)
    event.status = status_of(envelope, settings)
    if event.status == RECEIVED:
        await dispatch(db, envelope)

"""Reads a tenant's events: where a stream starts, what comes after a number, and the list of all."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple
from uuid import UUID

from pydantic import Field, TypeAdapter
from servicekit.pagination import next_cursor, read_cursor
from servicekit.schemas import Page
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.billing_events import schemas
from billing_webhook.models import BillingEvent, BillingEventCounter

BATCH_SIZE = 100
# What the column holds; a larger number would not reach the database.
SEQ_CURSOR = TypeAdapter(tuple[Annotated[int, Field(ge=0, lt=2**63)]])


class Start(NamedTuple):
    """The number after which a stream starts, and whether it differs from where the client left off."""

    seq: int
    is_reset: bool


class Batch(NamedTuple):
    """The next events, the number up to which all were read, and whether there may be more already."""

    events: Sequence[schemas.BillingEvent]
    seq: int
    has_more: bool


async def find_start(db: AsyncSession, tenant_id: UUID, after: int | None, *, is_replayed: bool) -> Start:
    """Return where a stream starts: after the client's last event, or with the next one if it names none.

    Where events after the client's last one are missing, or it names one that there never was, it starts with
    the oldest event that there is.
    """
    last = await last_seq(db, tenant_id)
    if after is None:
        return Start(last, is_reset=False)
    first = select(func.min(BillingEvent.seq)).where(BillingEvent.tenant_id == tenant_id)
    oldest = await db.scalar(first) if is_replayed else None
    before_oldest = last if oldest is None else oldest - 1
    if before_oldest <= after <= last:
        return Start(after, is_reset=False)
    return Start(before_oldest, is_reset=True)


async def read_batch(db: AsyncSession, tenant_id: UUID, after: int, types: Sequence[str]) -> Batch:
    """Read the next events after a number."""
    last = await last_seq(db, tenant_id)
    query = select(BillingEvent).where(
        BillingEvent.tenant_id == tenant_id, BillingEvent.seq > after, BillingEvent.seq <= last
    )
    if types:
        query = query.where(BillingEvent.type.in_(types))
    rows = (await db.scalars(query.order_by(BillingEvent.seq).limit(BATCH_SIZE))).all()
    events = [schemas.BillingEvent.model_validate(row) for row in rows]
    has_more = len(events) == BATCH_SIZE
    return Batch(events, events[-1].seq if has_more else max(last, after), has_more)


async def last_seq(db: AsyncSession, tenant_id: UUID) -> int:
    """Return the number of the tenant's last event; 0 if it has had none."""
    counter = await db.get(BillingEventCounter, tenant_id, populate_existing=True)
    return counter.last_seq if counter else 0


async def list_events(
    db: AsyncSession,
    tenant_id: UUID,
    types: Sequence[str],
    limit: int,
    cursor: str | None,
) -> Page[schemas.BillingEvent]:
    """List a tenant's events, the newest first; raises InvalidCursor."""
    query = select(BillingEvent).where(BillingEvent.tenant_id == tenant_id)
    if types:
        query = query.where(BillingEvent.type.in_(types))
    if cursor is not None:
        [before] = read_cursor(cursor, SEQ_CURSOR, int)
        query = query.where(BillingEvent.seq < before)
    rows = (await db.scalars(query.order_by(BillingEvent.seq.desc()).limit(limit + 1))).all()
    items = [schemas.BillingEvent.model_validate(row) for row in rows[:limit]]
    return Page(items=items, next_cursor=next_cursor(rows, limit, "seq"))

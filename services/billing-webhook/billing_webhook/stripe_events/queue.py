"""The queue of dispatches in Postgres: claim with a lease, complete, postpone.

A dispatch whose lease has expired is claimed again, and nothing that the worker of before writes late counts.
No two dispatches of one customer are claimed at once, so what a handler has fetched from Stripe is not
overwritten by what another one fetched before it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, ScalarSelect, Select, Update, and_, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased

from billing_webhook.models import StripeDispatch, StripeEvent
from billing_webhook.stripe_events.retries import Outcome

WAITING = ("pending", "failed", "unmapped")
LEASE = timedelta(seconds=60)
# Workers claim in turns: what one has claimed is visible to the next.
CLAIM_LOCK = 6_031_884_217
# How many of the longest due are looked at for a claim.
CANDIDATES = 500

IS_WAITING = StripeDispatch.status.in_(WAITING)
IS_DUE = IS_WAITING & (StripeDispatch.next_attempt_at <= func.now())
IS_ABANDONED = (StripeDispatch.status == "running") & (StripeDispatch.leased_until < func.now())


class LeaseLost(Exception):
    """Another worker has claimed the dispatch since."""


@dataclass(frozen=True)
class Claim:
    """A dispatch that is this worker's until its lease expires."""

    dispatch: StripeDispatch
    token: UUID
    # None once its retention is over.
    payload: bytes | None


async def claim(db: AsyncSession, handlers: Collection[str], limit: int) -> list[Claim]:
    """Claim dispatches that are due, one of a customer at most; those of handlers unknown here stay."""
    await db.execute(select(func.pg_advisory_xact_lock(CLAIM_LOCK)))
    token = uuid4()
    chosen = select(StripeDispatch.id).where(StripeDispatch.id.in_(_next(handlers, limit)))
    claimed = (
        update(StripeDispatch)
        .where(StripeDispatch.id.in_(chosen.with_for_update(skip_locked=True)))
        .values(
            status="running",
            lease_token=token,
            leased_until=func.now() + LEASE,
            attempts=StripeDispatch.attempts + 1,
        )
        .returning(StripeDispatch)
    )
    dispatches = (await db.scalars(claimed)).all()
    events = select(StripeEvent.id, StripeEvent.payload).where(
        StripeEvent.id.in_([dispatch.event_id for dispatch in dispatches])
    )
    payloads = {row.id: row.payload for row in await db.execute(events)} if dispatches else {}
    return [Claim(dispatch, token, payloads[dispatch.event_id]) for dispatch in dispatches]


def _next(handlers: Collection[str], limit: int) -> Select[tuple[UUID]]:
    """Select the ids to claim: of each customer the oldest event, those first that are due for longest."""
    other = aliased(StripeDispatch)
    is_busy = exists().where(
        other.ordering_key == StripeDispatch.ordering_key,
        other.status == "running",
        other.id != StripeDispatch.id,
    )
    due = (
        select(StripeDispatch)
        .where(StripeDispatch.handler.in_(handlers), or_(IS_DUE, IS_ABANDONED), ~is_busy)
        .order_by(StripeDispatch.next_attempt_at)
        .limit(CANDIDATES)
        .subquery()
    )
    oldest = (
        select(due.c.id, due.c.next_attempt_at)
        .ext(distinct_on(due.c.ordering_key))
        .order_by(due.c.ordering_key, due.c.event_created, due.c.created_at)
        .subquery()
    )
    return select(oldest.c.id).order_by(oldest.c.next_attempt_at).limit(limit)


async def complete(db: AsyncSession, claim: Claim, tenant_id: UUID | None) -> None:
    """Mark a dispatch as processed, in the transaction of its effects; raises LeaseLost."""
    done = {"status": "completed", "completed_at": func.now(), "tenant_id": tenant_id, "last_error": None}
    await _release(db, claim, _owned(claim).values(**done))


async def postpone(db: AsyncSession, claim: Claim, outcome: Outcome) -> None:
    """Store why a dispatch was not processed, and when it is tried again; raises LeaseLost."""
    next_attempt = None if outcome.pause is None else func.now() + timedelta(seconds=outcome.pause)
    change = _owned(claim).values(
        status=outcome.status, last_error=outcome.error, next_attempt_at=next_attempt
    )
    if outcome.is_wait:
        change = change.values(waits=StripeDispatch.waits + 1, attempts=StripeDispatch.attempts - 1)
    await _release(db, claim, change)


async def reorder(db: AsyncSession, claim: Claim, customer: str) -> None:
    """Have a dispatch wait for the others of its customer, who was not known before; raises LeaseLost."""
    values = {"ordering_key": customer, "status": "pending", "attempts": StripeDispatch.attempts - 1}
    await _release(db, claim, _owned(claim).values(**values, next_attempt_at=func.now()))


def _owned(claim: Claim) -> Update:
    is_ours = and_(StripeDispatch.id == claim.dispatch.id, StripeDispatch.lease_token == claim.token)
    return update(StripeDispatch).where(is_ours, StripeDispatch.status == "running")


async def _release(db: AsyncSession, claim: Claim, change: Update) -> None:
    released = change.values(lease_token=None, leased_until=None).returning(StripeDispatch.id)
    if await db.scalar(released.execution_options(synchronize_session=False)) is None:
        raise LeaseLost(claim.dispatch.id)


@dataclass(frozen=True)
class Backlog:
    """Seconds for which the oldest dispatch has been due, and until the next one is."""

    oldest: float
    next: float


async def backlog(db: AsyncSession, handlers: Collection[str]) -> Backlog:
    """Measure what waits; negative or 0 where nothing is due, infinity where nothing waits."""
    moments = [
        _earliest(StripeDispatch.next_attempt_at, IS_WAITING, handlers),
        _earliest(StripeDispatch.leased_until, StripeDispatch.status == "running", handlers),
    ]
    due, abandoned = (await db.execute(select(*moments))).one()
    waits = [float(moment) for moment in (due, abandoned) if moment is not None]
    return Backlog(oldest=-float(due) if due is not None else 0.0, next=min(waits, default=float("inf")))


def _earliest(
    moment: InstrumentedAttribute[datetime | None],
    is_concerned: ColumnElement[bool],
    handlers: Collection[str],
) -> ScalarSelect[Any]:
    seconds = func.extract("epoch", func.min(moment) - func.now())
    return select(seconds).where(is_concerned, StripeDispatch.handler.in_(handlers)).scalar_subquery()

"""Leases: who executes a run. When a lease expires, another replica claims the run.

Each claim increments the run's `attempt`; an older attempt can change nothing any more.
"""

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Uuid,
    and_,
    bindparam,
    cast,
    exists,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from chat_agent.models import ACTIVE, UNFINISHED, Run, RunStatus
from chat_agent.schemas import Usage

# Queried every few seconds by every replica.
NEXT_DUE = text("""
    select extract(epoch from least(
        (select min(lease_expires_at) from runs where status = 'running'),
        (select min(waiting_until) from runs where status = 'waiting'),
        (select now() where exists(select from runs where status = 'queued')
            or exists(select from runs where status = 'waiting' and stop is not null))
    ) - now())
""")
# It locks nothing, and is refused where Postgres takes no writes.
LOCK_NOTHING = text("select from runs limit 0 for update")
HAS_QUEUED = text("""
    select exists(select from runs where conversation_id = :id and status = 'queued')
""").bindparams(bindparam("id", type_=Uuid))
# The values that the statement returns, not those that the session has loaded before.
RELOAD = {"populate_existing": True}


@dataclass(frozen=True)
class Lease:
    """Which process owns a run, and for how long."""

    owner: str
    ttl: timedelta

    def claim_values(self) -> dict[str, Any]:
        """Return the values of a run that is claimed."""
        return {
            "status": RunStatus.RUNNING,
            "owner": self.owner,
            "lease_expires_at": func.now() + self.ttl,
            "started_at": func.coalesce(Run.started_at, func.now()),
            "attempt": Run.attempt + 1,
        }

    def initial_values(self) -> dict[str, Any]:
        """Return the values of a run that starts at once."""
        return {
            "status": RunStatus.RUNNING,
            "owner": self.owner,
            "lease_expires_at": func.now() + self.ttl,
            "started_at": func.now(),
        }


def owned(run: Run, *statuses: RunStatus) -> ColumnElement[bool]:
    """Match the row of a run while it has one of these statuses (running), and no newer attempt exists.

    Every write for a run that is executed goes through this fence.
    """
    fence = and_(Run.id == run.id, Run.attempt == run.attempt)
    return fence & Run.status.in_(statuses or (RunStatus.RUNNING,))


async def lock_conversation(session: AsyncSession, conversation_id: UUID) -> None:
    """Lock a conversation against starting, ending or claiming runs until the transaction ends."""
    await session.execute(
        text("select pg_advisory_xact_lock(hashtextextended(:id, 0))"), {"id": str(conversation_id)}
    )


async def lock_open_runs(session: AsyncSession, conversation_id: UUID) -> list[Run]:
    """Return a conversation's unfinished runs in their order, locked."""
    await lock_conversation(session, conversation_id)
    query = select(Run).where(
        Run.conversation_id == conversation_id,
        Run.status.in_(UNFINISHED),
    )
    return list(await session.scalars(query.order_by(Run.position)))


async def checkpoint(session: AsyncSession, run: Run, usage: Usage) -> bool:
    """Store how far a run is; its items are in the conversation. Return False when it has a newer owner."""
    statement = update(Run).where(owned(run))
    updated = await session.scalars(
        statement.values(usage=usage.model_dump(mode="json"), state=None).returning(Run.id)
    )
    return updated.one_or_none() is not None


async def store_usage(session: AsyncSession, run: Run, usage: Usage) -> None:
    """Store the usage of an attempt that others continue."""
    statement = update(Run).where(owned(run))
    await session.execute(statement.values(usage=usage.model_dump(mode="json")))


async def store_truncation(session: AsyncSession, run: Run) -> None:
    """Store whether the answer of a run was cut."""
    await session.execute(update(Run).where(owned(run)).values(is_truncated=run.is_truncated))


async def store_token_limit(session: AsyncSession, run: Run) -> None:
    """Store the limit of tokens of a run whose agent has changed."""
    await session.execute(update(Run).where(owned(run)).values(token_limit=run.token_limit))


async def renew(
    session: AsyncSession, lease: Lease, run_ids: list[UUID]
) -> dict[UUID, tuple[int, str | None]]:
    """Renew the leases of runs; return the attempt and stop of each that this replica still owns."""
    statement = update(Run).where(
        Run.id.in_(run_ids), Run.owner == lease.owner, Run.status == RunStatus.RUNNING
    )
    rows = await session.execute(
        statement.values(lease_expires_at=func.now() + lease.ttl).returning(Run.id, Run.attempt, Run.stop)
    )
    return {id_: (attempt, stop) for id_, attempt, stop in rows}


async def release(session: AsyncSession, owner: str, run_ids: list[UUID]) -> None:
    """Release runs for other replicas to claim."""
    statement = update(Run).where(Run.id.in_(run_ids), Run.owner == owner, Run.status == RunStatus.RUNNING)
    # No worker is lost: the usage is stored, and the next attempt need not estimate it.
    await session.execute(statement.values(owner=None, lease_expires_at=func.now(), losses=0))


async def seconds_until_due(session: AsyncSession) -> float:
    """Return, at little cost, in how many seconds there may be a run to claim; endless without any run."""
    seconds = await session.scalar(NEXT_DUE)
    return math.inf if seconds is None else float(seconds)


async def require_writes(session: AsyncSession) -> None:
    """Raise DBAPIError where Postgres takes no writes, as during a failover."""
    await session.execute(LOCK_NOTHING)


async def claim_expired(session: AsyncSession, lease: Lease, limit: int) -> list[Run]:
    """Claim runs whose lease expired or was released, and those whose approvals expired."""
    abandoned = and_(Run.status == RunStatus.RUNNING, Run.lease_expires_at <= func.now())
    unanswered = and_(
        Run.status == RunStatus.WAITING, or_(Run.waiting_until <= func.now(), Run.stop.is_not(None))
    )
    due = select(Run.id).where(or_(abandoned, unanswered)).order_by(Run.position).limit(limit)
    statement = (
        update(Run)
        .where(Run.id.in_(due.with_for_update(skip_locked=True)))
        .values(**lease.claim_values(), losses=Run.losses + cast(owner_crashed(), Integer))
        .returning(Run)
    )
    return list(await session.scalars(statement))


def owner_crashed() -> Any:
    """Return the SQL for: the owner did not release the lease itself."""
    return and_(Run.status == RunStatus.RUNNING, Run.owner.is_not(None))


async def conversations_with_next(session: AsyncSession, limit: int) -> list[UUID]:
    """Return conversations with a queued run and no active one."""
    other = aliased(Run)
    busy = exists().where(other.conversation_id == Run.conversation_id, other.status.in_(ACTIVE))
    query = select(Run.conversation_id).where(Run.status == RunStatus.QUEUED, ~busy).distinct().limit(limit)
    return list(await session.scalars(query))


async def has_queued(session: AsyncSession, conversation_id: UUID) -> bool:
    """Return, at little cost, whether a run is queued in a conversation."""
    return bool(await session.scalar(HAS_QUEUED, {"id": conversation_id}))


async def start_next_queued(session: AsyncSession, conversation_id: UUID, lease: Lease) -> Run | None:
    """Claim the first queued run of a conversation, unless another one is active there."""
    open_runs = await lock_open_runs(session, conversation_id)
    if not open_runs or open_runs[0].status != RunStatus.QUEUED:
        return None
    statement = (
        update(Run)
        .where(Run.id == open_runs[0].id, Run.status == RunStatus.QUEUED)
        .values(**lease.claim_values())
    )
    return (await session.scalars(statement.returning(Run), execution_options=RELOAD)).one_or_none()

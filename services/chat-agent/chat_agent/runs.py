"""Runs as facts: begun, found, kept alive, ended."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from servicekit.events import publish
from servicekit.idempotency import IdempotencyConflict
from servicekit.tokens import Principal
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.errors import ReplicaLost, UnknownRun
from chat_agent.events import RunCompleted
from chat_agent.models import RUNNING, Run
from chat_agent.schemas import AgentStatus, Usage


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    status: str
    agent: str
    handoffs: list[str] = field(default_factory=list)
    output: str | None = None
    usage: Usage = field(default_factory=Usage)
    error_code: str | None = None
    error_detail: str | None = None


async def begin(session: AsyncSession, values: dict[str, Any]) -> Run | None:
    """Begin a run; none when another one answers in the conversation, or has the same Idempotency-Key."""
    statement = insert(Run).values(values).on_conflict_do_nothing().returning(Run)
    return (await session.scalars(statement)).one_or_none()


async def find_by_key(
    session: AsyncSession, caller: Principal, key: str, message: str, agent: str
) -> Run | None:
    """Find the run that a key began; raises IdempotencyConflict when it was for another message."""
    same = select(Run).filter_by(tenant_id=caller.tenant_id, user_id=caller.subject, idempotency_key=key)
    run = (await session.scalars(same)).one_or_none()
    if run is not None and (run.message, run.agent) != (message, agent):
        raise IdempotencyConflict
    return run


async def find(session: AsyncSession, caller: Principal, run_id: UUID) -> Run:
    """Find one of the caller's runs; raises UnknownRun."""
    own = select(Run).filter_by(id=run_id, tenant_id=caller.tenant_id, user_id=caller.subject)
    run = (await session.scalars(own)).one_or_none()
    if run is None:
        raise UnknownRun
    return run


async def end(session: AsyncSession, run: Run, outcome: Outcome) -> bool:
    """End a run and tell it; does nothing, and says so, when somebody else has ended it before."""
    ended_at = datetime.now(UTC)
    statement = (
        update(Run)
        .where(Run.id == run.id, Run.status == RUNNING)
        .values(
            status=outcome.status,
            output=outcome.output,
            final_agent=outcome.agent,
            handoffs=outcome.handoffs,
            usage=outcome.usage.model_dump(mode="json"),
            error_code=outcome.error_code,
            error_detail=outcome.error_detail,
            ended_at=ended_at,
        )
        .returning(Run.id)
    )
    if (await session.scalars(statement)).one_or_none() is None:
        return False
    completed = RunCompleted(
        run_id=run.id,
        conversation_id=run.conversation_id,
        tenant_id=run.tenant_id,
        user_id=run.user_id,
        agent=outcome.agent,
        status=outcome.status,
        usage=outcome.usage.models,
        estimated=outcome.usage.estimated,
        started_at=run.created_at,
        completed_at=ended_at,
    )
    publish(session, completed, tenant_id=run.tenant_id, subject=str(run.id))
    return True


async def keep_alive(session: AsyncSession, owner: str, run_ids: list[UUID], lease: timedelta) -> None:
    """Say that this replica still works on these runs."""
    mine = update(Run).where(Run.id.in_(run_ids), Run.owner == owner, Run.status == RUNNING)
    await session.execute(mine.values(lease_expires_at=func.now() + lease))


async def lost(session: AsyncSession) -> list[Run]:
    """End the runs whose replica has died, and give them."""
    expired = (
        select(Run)
        .where(Run.status == RUNNING, Run.lease_expires_at < func.now())
        .limit(100)
        .with_for_update(skip_locked=True)
    )
    runs = list(await session.scalars(expired))
    for run in runs:
        await end(session, run, lost_outcome(run))
    return runs


def lost_outcome(run: Run) -> Outcome:
    """Say how a run ends whose replica has died."""
    return Outcome(
        "failed", run.agent, error_code=ReplicaLost.code(), error_detail=ReplicaLost.default_detail
    )


async def activity(session: AsyncSession, caller: Principal, agent: str) -> AgentStatus:
    """Tell what an agent has done in the caller's tenant."""
    done = select(func.max(Run.created_at), func.count(Run.conversation_id.distinct())).where(
        Run.tenant_id == caller.tenant_id, Run.agent == agent
    )
    last_used, conversations = (await session.execute(done)).one()
    return AgentStatus(name=agent, status="active", last_used=last_used, total_conversations=conversations)

"""Tool calls that need approval: the run is suspended, and resumes when all are decided."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson
from servicekit.auth.tokens import Principal
from sqlalchemy import exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.errors import ApprovalAnswered, ApprovalNotFound
from chat_agent.models import Approval, Run, RunStatus
from chat_agent.runs import store
from chat_agent.runs.leases import RELOAD, Lease, owned
from chat_agent.runs.outcome import Outcome
from chat_agent.runs.schemas import Answer


async def suspend(  # noqa: PLR0913, PLR0917  # what a run needs to go on later
    session: AsyncSession,
    run: Run,
    partial: Outcome,
    state: str,
    expires_in: timedelta,
    requests: list[Approval],
) -> bool:
    """Suspend a run until its approvals are decided; return False when another worker has claimed it."""
    statement = (
        update(Run)
        .where(owned(run))
        .values(
            status=RunStatus.WAITING,
            owner=None,
            lease_expires_at=None,
            state=state,
            waiting_until=func.now() + expires_in,
            usage=partial.usage.model_dump(mode="json"),
            final_agent=partial.agent,
            handoffs=partial.handoffs,
        )
        .returning(Run.id)
    )
    if (await session.scalars(statement)).one_or_none() is None:
        return False
    session.add_all(requests)
    return True


async def find(session: AsyncSession, run: Run, approval_id: UUID) -> Approval:
    """Return an approval of a run; raises ApprovalNotFound."""
    approval = await session.scalar(select(Approval).filter_by(id=approval_id, run_id=run.id))
    if approval is None:
        raise ApprovalNotFound
    return approval


async def decide(  # noqa: PLR0913, PLR0917  # what is answered, by whom, and who goes on
    session: AsyncSession,
    caller: Principal,
    run_id: UUID,
    approval_id: UUID,
    answer: Answer,
    lease: Lease,
) -> tuple[Run, bool]:
    """Store a decision; return the run, and whether it resumes because none is pending.

    Raises RunNotFound, ApprovalNotFound, and ApprovalAnswered when it was decided or has expired before.
    """
    run = await store.find(session, caller, run_id, lock=True)
    approval = await find(session, run, approval_id)
    if approval.status != "pending" or run.status != RunStatus.WAITING or run.stop is not None:
        raise ApprovalAnswered
    approval.status = "approved" if answer.approve else "rejected"
    approval.reason, approval.decided_by = answer.reason, caller.user_id
    approval.decided_at = datetime.now(UTC)
    if answer.approve and answer.arguments is not None:
        approval.edited_arguments = orjson.dumps(answer.arguments).decode()
    await session.flush()
    pending = exists().where(Approval.run_id == run.id, Approval.status == "pending")
    if await session.scalar(select(pending)):
        return run, False
    claim = update(Run).where(Run.id == run.id).values(**lease.claim_values(), waiting_until=None)
    return (await session.scalars(claim.returning(Run), execution_options=RELOAD)).one(), True


async def list_for_run(session: AsyncSession, run_id: UUID) -> list[Approval]:
    """Return the approvals of a run, oldest first."""
    query = select(Approval).where(Approval.run_id == run_id).order_by(Approval.created_at, Approval.id)
    return list(await session.scalars(query))


async def expire(session: AsyncSession, run_id: UUID) -> None:
    """Expire the pending approvals of a run."""
    pending = update(Approval).where(Approval.run_id == run_id, Approval.status == "pending")
    await session.execute(pending.values(status="expired", decided_at=func.now()))

"""Tool calls that a person has to allow: the run rests, and goes on when all is answered."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from servicekit.auth.tokens import Principal
from sqlalchemy import exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.errors import ApprovalAnswered, UnknownApproval
from chat_agent.models import RUNNING, WAITING, Approval, Run
from chat_agent.runs import store
from chat_agent.runs.leases import FRESH, Lease
from chat_agent.runs.outcome import Outcome


async def rest(  # noqa: PLR0913, PLR0917  # what a run needs to go on later
    session: AsyncSession, run: Run, so_far: Outcome, state: str, lasts: timedelta, asked: list[Approval]
) -> bool:
    """Let a run wait for answers; does nothing, and says so, when it is somebody else's by now."""
    statement = (
        update(Run)
        .where(Run.id == run.id, Run.attempt == run.attempt, Run.status == RUNNING)
        .values(
            status=WAITING,
            owner=None,
            lease_expires_at=None,
            state=state,
            waiting_until=func.now() + lasts,
            usage=so_far.usage.model_dump(mode="json"),
            final_agent=so_far.agent,
            handoffs=so_far.handoffs,
        )
        .returning(Run.id)
    )
    if (await session.scalars(statement)).one_or_none() is None:
        return False
    session.add_all(asked)
    return True


async def find(session: AsyncSession, run: Run, approval_id: UUID) -> Approval:
    """Find what a run has asked; raises UnknownApproval."""
    asked = await session.scalar(select(Approval).filter_by(id=approval_id, run_id=run.id))
    if asked is None:
        raise UnknownApproval
    return asked


async def answer(  # noqa: PLR0913, PLR0917  # what is answered, by whom, and who goes on
    session: AsyncSession,
    caller: Principal,
    run_id: UUID,
    approval_id: UUID,
    approve: bool,  # the word on the wire
    reason: str | None,
    lease: Lease,
) -> tuple[Run, bool]:
    """Write an answer down; gives the run, and whether it goes on: it was the last answer missing.

    Raises UnknownRun, UnknownApproval, and ApprovalAnswered when somebody or time has answered before.
    """
    run = await store.find(session, caller, run_id, lock=True)
    asked = await find(session, run, approval_id)
    if asked.status != "pending" or run.status != WAITING or run.stop is not None:
        raise ApprovalAnswered
    asked.status = "approved" if approve else "rejected"
    asked.reason, asked.decided_by, asked.decided_at = reason, caller.subject, datetime.now(UTC)
    await session.flush()
    missing = exists().where(Approval.run_id == run.id, Approval.status == "pending")
    if await session.scalar(select(missing)):
        return run, False
    taken = update(Run).where(Run.id == run.id).values(**lease.values(), waiting_until=None)
    return (await session.scalars(taken.returning(Run), execution_options=FRESH)).one(), True


async def of_run(session: AsyncSession, run_id: UUID) -> list[Approval]:
    """List what a run has asked, oldest first."""
    asked = select(Approval).where(Approval.run_id == run_id).order_by(Approval.created_at, Approval.id)
    return list(await session.scalars(asked))


async def expire(session: AsyncSession, run_id: UUID) -> None:
    """Close what nobody has answered."""
    unanswered = update(Approval).where(Approval.run_id == run_id, Approval.status == "pending")
    await session.execute(unanswered.values(status="expired", decided_at=func.now()))

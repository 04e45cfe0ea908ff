"""The rows of runs: insert, find, stop and end them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from servicekit.auth.tokens import Principal
from servicekit.events.outbox import publish
from servicekit.idempotency import IdempotencyConflict
from sqlalchemy import ColumnElement, Select, and_, delete, exists, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlalchemy.sql import ClauseElement

from chat_agent.errors import ConversationBusy, GuardrailTriggered, RunAlreadyFinished, RunNotFound
from chat_agent.events import RunCompleted
from chat_agent.guardrails.audit import record_triggered
from chat_agent.models import FINISHED, UNFINISHED, Approval, Attachment, Base, Run, RunStatus, ToolCall
from chat_agent.runs.leases import Lease, lock_open_runs, owned
from chat_agent.runs.outcome import Outcome

StopMode = Literal["cancel", "interrupt", "rollback"]
OnConflict = Literal["enqueue", "reject", "interrupt", "rollback"]
RUNS = Base.metadata.tables["runs"]
# The values with which every row begins.
NEW_RUN_VALUES: dict[str, Any] = {
    "attempt": 1,
    "losses": 0,
    "handoffs": [],
    "agent_versions": [],
    "usage": {},
    "is_truncated": False,
    "replaces_history": False,
    "tool_calls": [],
    "persistence": "permanent",
    "content": [],
}
# How long the events of a run that is not stored can be read after its end, by those who read them then.
UNSTORED_LOG_SECONDS = 60
# What remains of a run that is not stored, beside its usage.
UNSTORED_VALUES: dict[str, Any] = {
    "message": "",
    "content": [],
    "options": {},
    "output": None,
    "tool_calls": [],
    "tool_outputs_digest": None,
    "error_detail": None,
}
# The most runs that may be queued in one conversation.
MAX_QUEUED = 20


class RunContinued(Exception):
    """A run was continued before; whoever continues it again begins a branch."""


class RunAhead(NamedTuple):
    """An unfinished run that another one of its conversation waits for."""

    id: UUID
    status: RunStatus
    conversation_id: UUID


@dataclass(frozen=True)
class InsertedRun:
    """A run that was inserted, and those that must stop for it."""

    run: Run
    to_stop: list[Run] = field(default_factory=list)


async def start(
    session: AsyncSession, values: dict[str, Any], lease: Lease, on_conflict: OnConflict, *, is_alone: bool
) -> InsertedRun | None:
    """Insert a run, running or queued behind those of its conversation; none when its key has started one.

    `is_alone`: nobody else can know the conversation yet. Raises ConversationBusy when `on_conflict` says so,
    or when too many runs are queued.
    """
    open_runs = [] if is_alone else await lock_open_runs(session, values["conversation_id"])
    if not open_runs:
        return inserted(await _insert(session, {**values, **lease.initial_values()}))
    if (key := values["idempotency_key"]) and any(one.idempotency_key == key for one in open_runs):
        return None
    if on_conflict == "reject" or (on_conflict == "enqueue" and len(open_runs) > MAX_QUEUED):
        raise ConversationBusy(retry_after=2)
    run = await _insert(session, {**values, "status": RunStatus.QUEUED})
    if run is None or on_conflict == "enqueue":
        return inserted(run)
    for one in open_runs:
        await stop(session, one, on_conflict)
    return InsertedRun(run, open_runs)


def inserted(run: Run | None) -> InsertedRun | None:
    """Wrap an inserted run, if there is one."""
    return None if run is None else InsertedRun(run)


async def _insert(session: AsyncSession, values: dict[str, Any]) -> Run | None:
    # Past the mapper, which would read every column back: what they hold is known.
    new = insert(RUNS).values(values).on_conflict_do_nothing().returning(RUNS.c.created_at)
    created_at = await session.scalar(new)
    if created_at is None:
        return None
    columns = {name: value for name, value in values.items() if not isinstance(value, ClauseElement)}
    started_at = created_at if values["status"] == RunStatus.RUNNING else None
    return Run(**(NEW_RUN_VALUES | columns), created_at=created_at, started_at=started_at)


async def require_newest(session: AsyncSession, run: Run) -> None:
    """Lock a run that is to be continued; raises RunContinued."""
    await session.execute(select(Run.id).where(Run.id == run.id).with_for_update())
    later = exists().where(
        Run.conversation_id == run.conversation_id,
        Run.position > run.position,
        # Nothing is left of one that was rolled back.
        Run.error_code.is_distinct_from("rolled_back"),
    )
    if await session.scalar(select(later)):
        raise RunContinued


async def find_by_key(session: AsyncSession, caller: Principal, key: str, **values: object) -> Run | None:
    """Find the run that a key has started; raises IdempotencyConflict when it has other values."""
    same = select(Run).filter_by(tenant_id=caller.tenant_id, user_id=caller.user_id, idempotency_key=key)
    run = (await session.scalars(same)).one_or_none()
    if run is None or (run.persistence == "none" and run.status in FINISHED):
        # Of one that was not stored it is not known what was requested.
        return run
    if any(getattr(run, name) != value for name, value in values.items()):
        raise IdempotencyConflict
    return run


def own_runs_in(caller: Principal, conversation_id: UUID) -> Select[Run]:
    """Select the caller's runs in a conversation."""
    return select(Run).filter_by(
        tenant_id=caller.tenant_id, user_id=caller.user_id, conversation_id=conversation_id
    )


async def has_run_in(session: AsyncSession, caller: Principal, conversation_id: UUID) -> bool:
    """Return whether the caller has a run in a conversation, which is then known to be theirs."""
    return bool(await session.scalar(select(own_runs_in(caller, conversation_id).exists())))


async def find(session: AsyncSession, caller: Principal, run_id: UUID, *, lock: bool = False) -> Run:
    """Find one of the caller's runs, or of an application's end users; raises RunNotFound."""
    own = select(Run).where(Run.id == run_id, Run.tenant_id == caller.tenant_id, reachable_by(caller))
    run = (await session.scalars(own.with_for_update() if lock else own)).one_or_none()
    if run is None:
        raise RunNotFound
    return run


def reachable_by(caller: Principal) -> ColumnElement[bool]:
    """Return the condition that the caller may use a run whose id it has.

    An application that names nobody may use the runs of its end users: its clients name them only when they
    start a run.
    """
    own = Run.user_id == caller.user_id
    if not caller.is_application or caller.end_user is not None:
        return own
    return own | Run.user_id.startswith(f"{caller.subject}/", autoescape=True)


async def find_unfinished(session: AsyncSession, caller: Principal, conversation_id: UUID) -> Run | None:
    """Return the caller's unfinished run in a conversation, the oldest first."""
    unfinished = own_runs_in(caller, conversation_id).where(Run.status.not_in(FINISHED))
    return (await session.scalars(unfinished.order_by(Run.position).limit(1))).one_or_none()


async def find_call(
    session: AsyncSession, caller: Principal, conversation_id: UUID, call_id: str
) -> Run | None:
    """Return the run of the caller that called this tool of theirs, if one did in the conversation."""
    runs = own_runs_in(caller, conversation_id).where(Run.tool_calls.contains([{"call_id": call_id}]))
    return await newest(session, runs)


async def find_caller(session: AsyncSession, caller: Principal, call_id: str) -> Run | None:
    """Return the newest run of the caller that called this tool of theirs, in any conversation."""
    called = Run.tool_calls.contains([{"call_id": call_id}])
    own = select(Run).filter_by(tenant_id=caller.tenant_id, user_id=caller.user_id)
    # The condition of the index, by which it is used, is no parameter.
    return await newest(session, own.where(Run.tool_calls != text("'[]'"), called))


async def find_last_caller(session: AsyncSession, caller: Principal, conversation_id: UUID) -> Run | None:
    """Return the newest run of the caller in a conversation that has ended with calls of their tools."""
    return await newest(session, own_runs_in(caller, conversation_id).where(Run.tool_calls != []))


async def newest(session: AsyncSession, runs: Select[Run]) -> Run | None:
    """Return the newest of some runs, if there is any."""
    return (await session.scalars(runs.order_by(Run.created_at.desc()).limit(1))).one_or_none()


async def runs_ahead(session: AsyncSession, run_id: UUID) -> Sequence[RunAhead]:
    """Return the unfinished runs that a queued run waits for, in their order; none for any other run."""
    queued = aliased(Run)
    ahead = select(Run.id, Run.status, Run.conversation_id).join(
        queued, and_(queued.conversation_id == Run.conversation_id, Run.position < queued.position)
    )
    statement = ahead.where(
        queued.id == run_id, queued.status == RunStatus.QUEUED, Run.status.in_(UNFINISHED)
    ).order_by(Run.position)
    rows = await session.execute(statement)
    return [RunAhead(id_, RunStatus(status), conversation) for id_, status, conversation in rows]


async def cancel(session: AsyncSession, caller: Principal, run_id: UUID) -> Run:
    """Request the end of a run; raises RunAlreadyFinished."""
    run = await find(session, caller, run_id, lock=True)
    if run.status in FINISHED:
        raise RunAlreadyFinished(f"The run is over: it is {run.status}.")
    await stop(session, run, "cancel")
    return run


async def stop(session: AsyncSession, run: Run, mode: StopMode) -> None:
    """Stop a run: a queued one ends at once, any other is stopped by its owner."""
    if run.stop is None:
        run.stop = mode
        await session.flush()
    if run.status == RunStatus.QUEUED:
        await end(session, run, Outcome("cancelled", run.agent, cost=0))


async def end(session: AsyncSession, run: Run, outcome: Outcome) -> bool:
    """End a run and publish it; return False when another worker has claimed or ended it."""
    ended_at = datetime.now(UTC)
    statement = (
        update(Run)
        .where(owned(run, RunStatus.RUNNING, RunStatus.QUEUED))
        .values(**ended_values(outcome), ended_at=ended_at)
        .returning(Run.id)
    )
    if (await session.scalars(statement)).one_or_none() is None:
        return False
    if run.persistence == "none" or outcome.is_withdrawn:
        await erase_content(session, run.id)
    completed = completed_event(run, outcome, ended_at)
    publish(session, completed, tenant_id=run.tenant_id, subject=str(run.id))
    if outcome.error_code == GuardrailTriggered.code():
        detail = {"agent": outcome.agent, "run_id": str(run.id)}
        named = {"guardrail": outcome.guardrail, "stage": outcome.stage}
        record_triggered(session, run.tenant_id, run.user_id, None, **detail, **named)
    return True


def ended_values(outcome: Outcome) -> dict[str, Any]:
    """Return what the row of a run that ended so has; what only a run in progress needs is deleted."""
    return {
        "status": outcome.status,
        "output": outcome.output,
        "is_truncated": outcome.is_truncated,
        "tool_calls": outcome.tool_calls,
        "final_agent": outcome.agent,
        "handoffs": outcome.handoffs,
        "usage": outcome.usage.model_dump(mode="json"),
        "cost": outcome.cost,
        "error_code": outcome.error_code,
        "error_detail": outcome.error_detail,
        "exceeded_quota": outcome.exceeded_quota,
        "guardrail": outcome.guardrail,
        "guardrail_stage": outcome.stage,
        "state": None,
        "prelude": [],
        "tool_outputs": [],
        "definition": None,
    }


def completed_event(run: Run, outcome: Outcome, ended_at: datetime) -> RunCompleted:
    """Return the event with which a run's usage is counted."""
    return RunCompleted(
        run_id=run.id,
        conversation_id=run.conversation_id,
        tenant_id=run.tenant_id,
        user_id=run.user_id,
        agent=outcome.agent,
        initial_agent=run.agent,
        status=outcome.status,
        usage=outcome.usage.models,
        estimated=outcome.usage.estimated,
        started_at=run.started_at or run.created_at,
        completed_at=ended_at,
    )


def ended_log_seconds(run: Run, ttl_seconds: int) -> int:
    """Return for how many seconds the log of a run that has ended is stored; `ttl_seconds` at most."""
    return min(ttl_seconds, UNSTORED_LOG_SECONDS) if run.persistence == "none" else ttl_seconds


async def erase_content(session: AsyncSession, run_id: UUID) -> None:
    """Erase the content of a run; how it ended and its usage remain."""
    await session.execute(delete(Approval).where(Approval.run_id == run_id))
    await session.execute(delete(ToolCall).where(ToolCall.run_id == run_id))
    await session.execute(delete(Attachment).where(Attachment.run_id == run_id))
    values = {**UNSTORED_VALUES, "persistence": "none"}
    await session.execute(update(Run).where(Run.id == run_id).values(values))

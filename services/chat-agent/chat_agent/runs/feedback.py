"""What people say of the answers they got: one opinion for each run, and what they come to by agent."""

from collections.abc import Sequence
from typing import TypeVarTuple
from uuid import UUID

from servicekit.auth.permissions import allows
from servicekit.auth.tokens import Principal
from servicekit.errors import Conflict, Forbidden, NotFound
from servicekit.schemas import Page
from sqlalchemy import ColumnElement, Select, delete, func, select, true, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.errors import RunNotFound
from chat_agent.feedback_schemas import (
    FeedbackFilter,
    FeedbackPage,
    FeedbackTotals,
    NewFeedback,
    RunFeedback,
)
from chat_agent.models import FINISHED, Feedback, Run
from chat_agent.runs.queries import next_cursor, parse_cursor

Ts = TypeVarTuple("Ts")

TENANT_FEEDBACK_PERMISSION = "tenant:manage"


class FeedbackNotFound(NotFound):
    """The run has no feedback."""

    default_detail = "This run has no feedback."


class RunUnfinished(Conflict):
    """The run has not ended."""

    default_detail = "The run has not ended. Give feedback when its answer is complete."


class TenantFeedbackForbidden(Forbidden):
    """The caller may not read the feedback of all users."""

    default_detail = "Only owners and admins can read the feedback of the tenant's users."


async def put(session: AsyncSession, run: Run, new: NewFeedback) -> RunFeedback:
    """Store the feedback on a run, in place of what was there; raises RunNotFound, RunUnfinished."""
    if run.persistence == "none":
        raise RunNotFound  # what was said in it is not stored, and neither is what is said of it
    if run.status not in FINISHED:
        raise RunUnfinished
    values = {**new.model_dump(), "tenant_id": run.tenant_id, "user_id": run.user_id}
    agent = run.final_agent or run.agent
    versions = [one for one in run.agent_versions if one["name"] == agent]
    version = versions[0] if versions else {"number": None, "digest": None}
    values |= {"agent": agent, "version": version["number"], "digest": version["digest"]}
    values |= {"updated_at": func.now()}
    statement = insert(Feedback).values(run_id=run.id, **values)
    statement = statement.on_conflict_do_update(index_elements=["run_id"], set_=values)
    row = (await session.scalars(statement.returning(Feedback))).one()
    return RunFeedback.model_validate(row)


async def find(session: AsyncSession, run_id: UUID) -> RunFeedback | None:
    """Return the feedback on a run, if there is any."""
    row = await session.get(Feedback, run_id)
    return RunFeedback.model_validate(row) if row else None


async def remove(session: AsyncSession, run_id: UUID) -> None:
    """Delete the feedback on a run, if there is any."""
    await session.execute(delete(Feedback).where(Feedback.run_id == run_id))


async def list_for_tenant(session: AsyncSession, caller: Principal, query: FeedbackPage) -> Page[RunFeedback]:
    """List the feedback of a tenant, the newest first; raises TenantFeedbackForbidden, InvalidCursor."""
    order = (Feedback.created_at, Feedback.run_id)
    statement = matching(select(Feedback), caller, query).order_by(*(column.desc() for column in order))
    if query.cursor is not None:
        statement = statement.where(tuple_(*order) < tuple_(*parse_cursor(query.cursor)))
    rows: Sequence[Feedback] = (await session.scalars(statement.limit(query.limit + 1))).all()
    items = [RunFeedback.model_validate(row) for row in rows[: query.limit]]
    cursor = next_cursor([(row.created_at, row.run_id) for row in rows], query.limit)
    return Page(items=items, next_cursor=cursor)


async def totals(session: AsyncSession, caller: Principal, filters: FeedbackFilter) -> list[FeedbackTotals]:
    """Count the feedback of a tenant by agent; raises TenantFeedbackForbidden."""
    counts = select(
        Feedback.agent,
        func.count().filter(Feedback.rating == "up"),
        func.count().filter(Feedback.rating == "down"),
        func.count(Feedback.correction),
    )
    rows = await session.execute(matching(counts, caller, filters).group_by(Feedback.agent))
    by_reason = await count_reasons(session, caller, filters)
    return [
        FeedbackTotals(
            agent=agent, up=up, down=down, corrections=corrections, reasons=by_reason.get(agent, {})
        )
        for agent, up, down, corrections in sorted(rows.all())
    ]


async def count_reasons(
    session: AsyncSession, caller: Principal, filters: FeedbackFilter
) -> dict[str, dict[str, int]]:
    """Count how often each reason was given, by agent."""
    reason = func.jsonb_array_elements_text(Feedback.reasons).table_valued("value")
    counts = select(Feedback.agent, reason.c.value, func.count()).join_from(Feedback, reason, onclause=true())
    counts = matching(counts, caller, filters).group_by(Feedback.agent, reason.c.value)
    by_agent: dict[str, dict[str, int]] = {}
    for agent, name, count in (await session.execute(counts.order_by(reason.c.value))).all():
        by_agent.setdefault(agent, {})[name] = count
    return by_agent


def matching(statement: Select[*Ts], caller: Principal, filters: FeedbackFilter) -> Select[*Ts]:
    """Narrow a query to the feedback of the caller's tenant that the filters name."""
    if not allows(TENANT_FEEDBACK_PERMISSION, caller.role, caller.scopes):
        raise TenantFeedbackForbidden
    return statement.where(*conditions(caller, filters))


def conditions(caller: Principal, filters: FeedbackFilter) -> list[ColumnElement[bool]]:
    """Return the conditions that feedback is of the caller's tenant, and what the filters name."""
    narrowed = [Feedback.tenant_id == caller.tenant_id]
    if filters.agent is not None:
        narrowed.append(Feedback.agent == filters.agent)
    if filters.rating is not None:
        narrowed.append(Feedback.rating == filters.rating)
    if filters.since is not None:
        narrowed.append(Feedback.created_at >= filters.since)
    if filters.until is not None:
        narrowed.append(Feedback.created_at < filters.until)
    return narrowed

"""What people say of an agent's answers: counts by version, the newest entries, and what they correct."""

from typing import NamedTuple
from uuid import UUID

from servicekit.auth.tokens import Principal
from servicekit.errors import Conflict
from sqlalchemy import ColumnElement, func, or_, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.agent_reports.schemas import (
    AgentFeedback,
    CorrectedAnswer,
    FeedbackCounts,
    FeedbackQuery,
    VersionFeedback,
)
from chat_agent.feedback_schemas import FeedbackFilter, RunFeedback
from chat_agent.models import Feedback, Run
from chat_agent.runs.feedback import FeedbackNotFound, conditions
from chat_agent.runs.queries import next_cursor

Conditions = list[ColumnElement[bool]]
# Frontends choose the words; the most frequent ones are shown.
MAX_REASONS = 1000


class CorrectionMissing(Conflict):
    """The feedback does not say what the answer should have been."""

    default_detail = "This feedback has no correction. Only corrected answers can be read."


class VersionKey(NamedTuple):
    """Identifies a version of an agent."""

    version: int | None
    digest: str | None


async def report(session: AsyncSession, caller: Principal, name: str, query: FeedbackQuery) -> AgentFeedback:
    """Return what people say of an agent in the caller's tenant; raises InvalidCursor."""
    since = query.begin()
    filters = FeedbackFilter(agent=name, rating=query.rating, since=since, until=query.until)
    of_agent = conditions(caller, filters)
    items, cursor = await newest(session, of_agent, query)
    versions = await count_by_version(session, of_agent)
    return AgentFeedback(
        name=name,
        since=since,
        until=query.until,
        total=sum_of(versions),
        versions=versions,
        items=items,
        next_cursor=cursor,
    )


async def newest(
    session: AsyncSession, of_agent: Conditions, query: FeedbackQuery
) -> tuple[list[RunFeedback], str | None]:
    """Return a page of the feedback with text, the newest first, and the cursor of the next."""
    order = (Feedback.created_at, Feedback.run_id)
    statement = select(Feedback).where(
        *of_agent, or_(Feedback.comment.is_not(None), Feedback.correction.is_not(None))
    )
    if after := query.after():
        statement = statement.where(tuple_(*order) < tuple_(*after))
    statement = statement.order_by(*(column.desc() for column in order)).limit(query.limit + 1)
    rows = (await session.scalars(statement)).all()
    cursor = next_cursor([(row.created_at, row.run_id) for row in rows], query.limit)
    return [RunFeedback.model_validate(row) for row in rows[: query.limit]], cursor


async def count_by_version(session: AsyncSession, of_agent: Conditions) -> list[VersionFeedback]:
    """Count feedback by the version of the agent, the one with the newest feedback first."""
    counts = select(
        Feedback.version,
        Feedback.digest,
        func.count().filter(Feedback.rating == "up").label("up"),
        func.count().filter(Feedback.rating == "down").label("down"),
        func.count(Feedback.comment).label("comments"),
        func.count(Feedback.correction).label("corrections"),
    )
    counts = counts.where(*of_agent).group_by(Feedback.version, Feedback.digest)
    rows = (await session.execute(counts.order_by(func.max(Feedback.created_at).desc()))).mappings().all()
    reasons = await count_reasons(session, of_agent)
    return [
        VersionFeedback(**row, reasons=reasons.get(VersionKey(row["version"], row["digest"]), {}))
        for row in rows
    ]


async def count_reasons(session: AsyncSession, of_agent: Conditions) -> dict[VersionKey, dict[str, int]]:
    """Count how often each reason was given, by version, the most frequent first."""
    reason = func.jsonb_array_elements_text(Feedback.reasons).table_valued("value")
    counts = (
        select(Feedback.version, Feedback.digest, reason.c.value, func.count())
        .join_from(Feedback, reason, onclause=true())
        .where(*of_agent)
        .group_by(Feedback.version, Feedback.digest, reason.c.value)
        .order_by(func.count().desc(), reason.c.value)
        .limit(MAX_REASONS)
    )
    by_version: dict[VersionKey, dict[str, int]] = {}
    for version, digest, word, count in (await session.execute(counts)).all():
        by_version.setdefault(VersionKey(version, digest), {})[word] = count
    return by_version


def sum_of(versions: list[VersionFeedback]) -> FeedbackCounts:
    """Add up the counts of all versions."""
    total = FeedbackCounts(up=0, down=0, comments=0, corrections=0, reasons={})
    for one in versions:
        total.up += one.up
        total.down += one.down
        total.comments += one.comments
        total.corrections += one.corrections
        for word, count in one.reasons.items():
            total.reasons[word] = total.reasons.get(word, 0) + count
    return total


async def corrected_answer(
    session: AsyncSession, caller: Principal, name: str, run_id: UUID
) -> CorrectedAnswer:
    """Return a question with the answer that its person has corrected.

    Raises FeedbackNotFound, CorrectionMissing.
    """
    query = (
        select(Run, Feedback)
        .join(Feedback, Feedback.run_id == Run.id)
        .where(Run.id == run_id, Run.tenant_id == caller.tenant_id, Feedback.agent == name)
    )
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise FeedbackNotFound(f"The agent {name!r} has no feedback on a run with this id.")
    run, opinion = row
    if opinion.correction is None:
        raise CorrectionMissing
    earlier = select(func.count()).where(
        Run.conversation_id == run.conversation_id,
        Run.tenant_id == caller.tenant_id,
        Run.created_at < run.created_at,
    )
    return CorrectedAnswer(
        run_id=run.id,
        agent=run.agent,
        message=run.message,
        earlier_messages=await session.scalar(earlier) or 0,
        output=run.output,
        feedback=RunFeedback.model_validate(opinion),
    )

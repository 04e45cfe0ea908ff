"""The routes of feedback on runs."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, status
from servicekit.database import Session
from servicekit.schemas import Page

from chat_agent.api.dependencies import Reader, Writer
from chat_agent.feedback_schemas import (
    FeedbackFilter,
    FeedbackPage,
    FeedbackTotals,
    NewFeedback,
    RunFeedback,
)
from chat_agent.runs import feedback, store

router = APIRouter(prefix="/api/v1/runs", tags=["feedback"])


@router.get("/feedback")
async def list_feedback(
    query: Annotated[FeedbackPage, Query()], caller: Reader, session: Session
) -> Page[RunFeedback]:
    """List the feedback of the tenant's users, the newest first; for owners and admins."""
    return await feedback.list_for_tenant(session, caller, query)


@router.get("/feedback/totals")
async def get_feedback_totals(
    filters: Annotated[FeedbackFilter, Query()], caller: Reader, session: Session
) -> list[FeedbackTotals]:
    """Count the feedback of the tenant's users by agent; for owners and admins."""
    return await feedback.totals(session, caller, filters)


@router.put("/{run_id}/feedback")
async def put_feedback(run_id: UUID, new: NewFeedback, caller: Writer, session: Session) -> RunFeedback:
    """Rate a run's answer, in place of your earlier feedback."""
    return await feedback.put(session, await store.find(session, caller, run_id), new)


@router.get("/{run_id}/feedback")
async def get_feedback(run_id: UUID, caller: Reader, session: Session) -> RunFeedback:
    """Read the feedback on a run."""
    await store.find(session, caller, run_id)
    if (found := await feedback.find(session, run_id)) is None:
        raise feedback.FeedbackNotFound
    return found


@router.delete("/{run_id}/feedback", status_code=status.HTTP_204_NO_CONTENT)
async def delete_feedback(run_id: UUID, caller: Writer, session: Session) -> None:
    """Delete the feedback on a run."""
    await store.find(session, caller, run_id)
    await feedback.remove(session, run_id)

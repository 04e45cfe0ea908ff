"""The HTTP routes of reports about agents, of the service and of a tenant."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from servicekit.auth.permissions import allows
from servicekit.auth.tokens import Principal
from servicekit.database import Session
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.agent_definitions import store
from chat_agent.agent_reports import feedback, schemas, status
from chat_agent.agents import AGENTS
from chat_agent.api.dependencies import MANAGE, AgentName, Author, ToolReader

router = APIRouter(prefix="/api/v1/agents/{name}", tags=["agents"])


@router.get("/status")
async def get_agent_status(
    name: AgentName, caller: ToolReader, session: Session, period: Annotated[schemas.Period, Query()]
) -> schemas.AgentStatus:
    """Return how an agent is used in this tenant, in total and by version."""
    state = await state_of(session, caller, name)
    is_author = allows(MANAGE, caller.role, caller.scopes)
    return await status.agent_status(session, caller, name, state, period, is_full=is_author)


@router.get("/feedback")
async def get_agent_feedback(
    name: AgentName, caller: Author, session: Session, query: Annotated[schemas.FeedbackQuery, Query()]
) -> schemas.AgentFeedback:
    """Return what people say of an agent's answers: counts by version, and the newest entries with text."""
    query.after()  # what is no cursor is refused first: whether the agent exists says nothing of it
    await state_of(session, caller, name)
    return await feedback.report(session, caller, name, query)


@router.get("/feedback/{run_id}")
async def get_corrected_answer(
    name: AgentName, run_id: UUID, caller: Author, session: Session
) -> schemas.CorrectedAnswer:
    """Read a question and its answer, where its person has said what the answer should have been."""
    return await feedback.corrected_answer(session, caller, name, run_id)


async def state_of(session: AsyncSession, caller: Principal, name: str) -> schemas.AgentState:
    """Return whether an agent of the service or the tenant can answer; raises AgentNotFound."""
    if name in AGENTS:
        return "active"
    agent = await store.find(session, caller, name)
    return "active" if await store.releases_of(session, agent) else "draft"

"""One turn of chat, from the request to the run."""

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID, uuid4

import agents
from fastapi import Depends, Header, Query, Request
from opentelemetry import trace
from servicekit.database import Database
from servicekit.idempotency import WELL_FORMED, BadIdempotencyKey
from servicekit.limits import tenant_key
from servicekit.tokens import Principal
from sqlalchemy import func

from chat_agent import failures, runs
from chat_agent.agents import AGENTS
from chat_agent.engine import Engine
from chat_agent.errors import BadEventId, ConversationBusy, UnknownAgent
from chat_agent.models import Run
from chat_agent.run_log import RunEvent, Source
from chat_agent.schemas import Agent, ChatAnswer, ChatRequest, Usage
from chat_agent.tools import RunContext


@dataclass(frozen=True)
class Turn:
    """A run that was asked for, and where to hear of it."""

    run: Run
    source: Source
    is_new: bool


def engine_of(request: Request) -> Engine:
    """Give the engine of the app that answers."""
    engine: Engine = request.app.state.engine
    return engine


def key_of(idempotency_key: Annotated[str | None, Header()] = None) -> str | None:
    """Give the request's Idempotency-Key; raises BadIdempotencyKey."""
    if idempotency_key is not None and not WELL_FORMED.fullmatch(idempotency_key):
        raise BadIdempotencyKey
    return idempotency_key


def after_of(
    last_event_id: Annotated[
        str | None, Header(description="The id of the last event that was read.")
    ] = None,
    after: Annotated[str | None, Query(description="The same, for clients that cannot set headers.")] = None,
) -> int:
    """Give the number of the event to go on after; raises BadEventId."""
    given = last_event_id or after or "0"
    if not (given.isascii() and given.isdigit() and len(given) <= 9):
        raise BadEventId
    return int(given)


ResumeAfter = Annotated[int, Depends(after_of)]
Runs = Annotated[Engine, Depends(engine_of)]
IdempotencyKey = Annotated[str | None, Depends(key_of)]


async def begin(
    engine: Engine, database: Database, caller: Principal, asked: ChatRequest, key: str | None
) -> Turn:
    """Begin a run, or find the one that this key began; it is committed before anybody hears of it.

    Raises UnknownAgent, UnknownConversation, ConversationBusy while another run answers in the conversation,
    and IdempotencyConflict when the key was used for another message.
    """
    if asked.agent_type not in AGENTS:
        raise UnknownAgent(f"There is no agent called {asked.agent_type!r}. There are: {', '.join(AGENTS)}.")
    if earlier := await find_earlier(database, caller, asked, key):
        return Turn(earlier, engine.source(earlier.id), is_new=False)
    conversation_id = asked.conversation_id or uuid4()
    await engine.conversations_of(caller).ensure(conversation_id)
    async with database.begin() as session:
        run = await runs.begin(session, first_values(engine, caller, asked, conversation_id, key))
    if run is not None:
        return Turn(run, engine.start(run), is_new=True)
    # Another request was faster: with the same key, then it is the same run; else one in this conversation.
    if earlier := await find_earlier(database, caller, asked, key):
        return Turn(earlier, engine.source(earlier.id), is_new=False)
    raise ConversationBusy(retry_after=2)


async def find_earlier(
    database: Database, caller: Principal, asked: ChatRequest, key: str | None
) -> Run | None:
    """Find the run that this key began, if there is a key and a run."""
    if key is None:
        return None
    async with database.begin() as session:
        return await runs.find_by_key(session, caller, key, asked.message, asked.agent_type)


def first_values(
    engine: Engine, caller: Principal, asked: ChatRequest, conversation_id: UUID, key: str | None
) -> dict[str, Any]:
    """Give the row of a run that begins."""
    span = trace.get_current_span().get_span_context()
    return {
        "id": uuid4(),
        "tenant_id": caller.tenant_id,
        "user_id": caller.subject,
        "conversation_id": conversation_id,
        "agent": asked.agent_type,
        "model": engine.model,
        "message": asked.message,
        "idempotency_key": key,
        "owner": engine.owner,
        "lease_expires_at": func.now() + engine.lease,
        "trace_id": trace.format_trace_id(span.trace_id) if span.is_valid else None,
    }


def answer(turn: Turn, ended: RunEvent) -> ChatAnswer:
    """Make the whole answer of a run that has ended; raises the error by which it failed."""
    told = ended.json()
    if ended.type != "run.completed":
        raise failures.named(str(told.get("code")), str(told.get("detail") or ""))
    return ChatAnswer(
        response=str(told["output"]),
        conversation_id=turn.run.conversation_id,
        run_id=turn.run.id,
        agent_used=str(told["agent"]),
        handoff_occurred=bool(told["handoffs"]),
        usage=Usage.model_validate(told["usage"]),
        metadata={"model": turn.run.model, "handoffs": told["handoffs"]},
    )


def limit_key(caller: Principal, what: str) -> str:
    """Name a person's limit."""
    return tenant_key(caller.tenant_id, what, caller.subject)


def described(agent: agents.Agent[RunContext]) -> Agent:
    """Describe an agent to people."""
    return Agent(
        name=agent.name,
        status="active",
        description=agent.handoff_description or "",
        handoffs=[other.name for other in agent.handoffs if isinstance(other, agents.Agent)],
        tools=[tool.name for tool in agent.tools],
    )

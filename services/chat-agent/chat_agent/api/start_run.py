"""One turn of chat, from the request to the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import agents
from opentelemetry import trace
from servicekit.auth.tokens import Principal
from servicekit.idempotency import IdempotencyInProgress

from chat_agent.agents import AGENTS
from chat_agent.agents.tool import RunContext
from chat_agent.errors import RunCancelled, UnknownAgent
from chat_agent.event_log.store import WAITING, RunEvent
from chat_agent.execution.manager import Engine
from chat_agent.model import failures
from chat_agent.models import RUNNING, Run
from chat_agent.runs import approvals, store
from chat_agent.schemas import Agent, Answer, ChatAnswer, ChatRequest, Usage

# Items of the SDK: what was said elsewhere before.
Prelude = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Turn:
    """A run that was asked for; `heard` is the number of the last event that the client has heard."""

    run: Run
    is_new: bool
    heard: int = 0


async def begin(
    engine: Engine, caller: Principal, asked: ChatRequest, key: str | None, prelude: Prelude = ()
) -> Turn:
    """Begin a run, or find the one that this key began; it is committed before anybody hears of it.

    The prelude stands before the message if a conversation begins with it. Raises UnknownAgent,
    UnknownConversation, ConversationBusy, and IdempotencyConflict when the key was used for another message.
    """
    if asked.agent_type not in AGENTS:
        raise UnknownAgent(f"There is no agent called {asked.agent_type!r}. There are: {', '.join(AGENTS)}.")
    if earlier := await find_earlier(engine, caller, asked, key):
        return Turn(earlier, is_new=False)
    opening = await opening_of(engine, caller, asked.conversation_id, prelude)
    values = {**first_values(engine, caller, asked, key), "prelude": opening}
    is_alone = asked.conversation_id is None
    async with engine.database.begin() as session:
        begun = await store.begin(session, values, engine.lease, asked.on_conflict, is_alone=is_alone)
    if begun is None:
        # Another request with the same key was faster.
        if earlier := await find_earlier(engine, caller, asked, key):
            return Turn(earlier, is_new=False)
        raise IdempotencyInProgress(retry_after=1)
    if begun.run.status == RUNNING:
        engine.start(begun.run, begins_conversation=is_alone)
    else:
        engine.due.set()
    await engine.stop(begun.to_stop)
    return Turn(begun.run, is_new=True)


async def opening_of(
    engine: Engine, caller: Principal, conversation_id: UUID | None, prelude: Prelude
) -> list[dict[str, Any]]:
    """Give what the conversation is to begin with: nothing where it has begun; raises UnknownConversation."""
    if conversation_id is None:
        return [*prelude]
    async with engine.database.begin() as session:
        is_known = await store.has_run_in(session, caller, conversation_id)
    if is_known:
        return []
    conversations = engine.conversations_of(caller)
    await conversations.ensure(conversation_id)
    has_begun = bool(prelude and await conversations.items(conversation_id, last=1))
    return [] if has_begun else [*prelude]


async def find_earlier(engine: Engine, caller: Principal, asked: ChatRequest, key: str | None) -> Run | None:
    """Find the run that this key began, if there is a key and a run."""
    if key is None:
        return None
    async with engine.database.begin() as session:
        return await store.find_by_key(session, caller, key, asked.message, asked.agent_type)


def first_values(engine: Engine, caller: Principal, asked: ChatRequest, key: str | None) -> dict[str, Any]:
    """Give the row of a run that begins."""
    span = trace.get_current_span().get_span_context()
    return {
        "id": uuid4(),
        "tenant_id": caller.tenant_id,
        "user_id": caller.subject,
        "conversation_id": asked.conversation_id or uuid4(),
        "agent": asked.agent_type,
        "model": engine.model,
        "message": asked.message,
        "idempotency_key": key,
        "trace_id": trace.format_trace_id(span.trace_id) if span.is_valid else None,
    }


async def go_on(engine: Engine, caller: Principal, run_id: UUID, given: Mapping[UUID, Answer]) -> Turn:
    """Answer what a run has asked for, all or nothing; when that was the last it asked for, it goes on.

    Raises UnknownRun, UnknownApproval, and ApprovalAnswered.
    """
    last = await engine.source(run_id).last()
    async with engine.database.begin() as session:
        for approval_id, said in given.items():
            run, goes_on = await approvals.answer(
                session, caller, run_id, approval_id, said.approve, said.reason, engine.lease
            )
    if goes_on:
        engine.start(run)
    return Turn(run, is_new=True, heard=last.seq if last and goes_on else 0)


async def cancel(engine: Engine, caller: Principal, run_id: UUID) -> Run:
    """Stop a run; raises UnknownRun, RunOver."""
    async with engine.database.begin() as session:
        run = await store.cancel(session, caller, run_id)
    await engine.stop([run])
    return run


def answer(turn: Turn, ended: RunEvent) -> ChatAnswer:
    """Make the whole answer of a run that has ended, or waits; raises the error by which it failed."""
    told: dict[str, Any] = ended.json()
    if ended.type == "run.cancelled":
        raise RunCancelled(run_id=str(turn.run.id))
    if ended.type == "run.failed":
        raise failures.named(told.get("code"), told.get("detail"))
    return ChatAnswer(
        response=told["output"] or "",
        conversation_id=turn.run.conversation_id,
        run_id=turn.run.id,
        agent_used=told["agent"],
        handoff_occurred=bool(told["handoffs"]),
        usage=Usage.model_validate(told["usage"]),
        metadata={
            "model": turn.run.model,
            "handoffs": told["handoffs"],
            "status": "waiting" if ended.type == WAITING else "completed",
        },
    )


def described(agent: agents.Agent[RunContext]) -> Agent:
    """Describe an agent to people."""
    return Agent(
        name=agent.name,
        status="active",
        description=agent.handoff_description or "",
        handoffs=[other.name for other in agent.handoffs if isinstance(other, agents.Agent)],
        tools=[tool.name for tool in agent.tools],
    )

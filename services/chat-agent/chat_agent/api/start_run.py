"""Starts runs: from a validated request to the committed row."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import orjson
from opentelemetry import trace
from servicekit.auth.tokens import Principal
from servicekit.idempotency import REPLAYED, IdempotencyInProgress
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.agent_definitions.selection import AgentSelection
from chat_agent.api.deadlines import capacity_limit, start_deadline, transaction
from chat_agent.api.decisions import checked_decisions
from chat_agent.api.message_lengths import check_plan
from chat_agent.api.run_request import History, RunRequest, prepare_request
from chat_agent.api.server_calls import with_server_calls
from chat_agent.attachments import store as attachments
from chat_agent.attachments.files import copy_to_run
from chat_agent.clients.billing import QuotaWarning, RunRef
from chat_agent.direct_models import names_for
from chat_agent.errors import AgentNotFound, RunCancelled, ToolCallNotFound
from chat_agent.event_log.store import EventType, RunEvent
from chat_agent.execution.manager import RunManager
from chat_agent.items import is_call, is_output
from chat_agent.model import failures
from chat_agent.models import Run, RunStatus
from chat_agent.runs import approvals, store
from chat_agent.runs.schemas import Answer, ChatAnswer
from chat_agent.schemas import Usage

QUOTA_WARNING = "X-Quota-Warning"
# What the repetition of a request has in common with it.
FINGERPRINT = ("message", "content", "agent", "options", "tool_outputs_digest")


@dataclass(frozen=True)
class StartedRun:
    """A run that was started or resumed, and the number of the last event that the client has read."""

    run: Run
    is_new: bool
    last_event_id: int = 0
    warnings: Sequence[QuotaWarning] = ()

    def headers(self) -> dict[str, str]:
        """Return the headers that name the run, and say whether it is a replay, or exceeds soft limits."""
        headers = {"Acme-Run-Id": str(self.run.id), "Acme-Conversation-Id": str(self.run.conversation_id)}
        if not self.is_new:
            headers[REPLAYED] = "true"
        if self.warnings:
            headers[QUOTA_WARNING] = ", ".join(warning.header() for warning in self.warnings)
        return headers


async def start_run(
    manager: RunManager, caller: Principal, request: RunRequest, key: str | None
) -> StartedRun:
    """Start a run, or return the one that this key has started; it is committed before this returns.

    Raises AgentNotFound, ConversationNotFound, ConversationBusy, ToolCallNotFound, MessageTooLong,
    InvalidAttachment, GuardrailTriggered, QuotaExceeded, BillingUnavailable, RunCapacityExceeded, and
    IdempotencyConflict when the key was used for another request.
    """
    chat = request.chat
    conversation_id = chat.conversation_id or uuid4()
    agent = await selected_agent(manager, caller, request, conversation_id)
    model = manager.model_of(agent, caller.tenant_id)
    request = await prepare_request(manager, caller, request, agent, model)
    request = await with_server_calls(manager, caller, request)
    new = {"conversation_id": conversation_id, "model": model}
    new |= {"agent_versions": agent.stored_versions, "definition": agent.stored_definition}
    values = {**new_run_values(caller, request, key), **new}
    if key and (earlier := await find_earlier(manager, caller, key, values)):
        return StartedRun(earlier, is_new=False)
    limits = await manager.budgets.request_limits(values["tenant_id"])
    check_plan(limits, request.chat.message, request.prelude, request.attachment_bytes)
    ref = RunRef(values["tenant_id"], values["id"], values["user_id"], values["agent"])
    async with (
        capacity_limit(manager.database),
        start_deadline() as deadline,
        manager.budgets.reserve_start(
            ref, model, partial(manager.provider_keys.has_key_for, ref.tenant_id, model)
        ) as reservation,
    ):
        started = await insert_in_conversation(manager, caller, request, values, deadline)
        if started is None:
            reservation.release()
            return await repeated(manager, caller, key, values)
    if started.run.status == RunStatus.RUNNING:
        manager.start(started.run, is_new_conversation=chat.conversation_id is None)
    else:
        manager.claim_due.set()
    await manager.stop(started.to_stop)
    return StartedRun(started.run, is_new=True, warnings=reservation.warnings)


async def selected_agent(
    manager: RunManager, caller: Principal, request: RunRequest, conversation_id: UUID
) -> AgentSelection:
    """Return the agent of a new run; raises AgentNotFound, RunCapacityExceeded."""
    if request.selection is not None:
        return request.selection
    agent_type = request.chat.agent_type
    async with capacity_limit(manager.database):
        agent = await manager.select_agent(caller.tenant_id, agent_type, conversation_id)
    if agent is None:
        raise await agent_not_found(manager, caller.tenant_id, agent_type)
    return agent


async def insert_in_conversation(
    manager: RunManager,
    caller: Principal,
    request: RunRequest,
    values: dict[str, Any],
    deadline: asyncio.Timeout,
) -> store.InsertedRun | None:
    """Insert a run where the conversation is new or the caller's; none when its key has started one.

    Raises RunContinued.
    """
    async with transaction(manager.database) as session:
        if request.previous is not None:
            await store.require_newest(session, request.previous)
        is_new = request.chat.conversation_id is None
        if is_new or await store.has_run_in(session, caller, values["conversation_id"]):
            if not is_new:
                await use_stored_history(session, caller, request, values)
            await continue_calls(session, caller, values)
            return await insert(session, manager, values, request, deadline)
    # No transaction is held while another service is called.
    values["prelude"] = await initial_history(manager, caller, values["conversation_id"], values["prelude"])
    async with transaction(manager.database) as session:
        await continue_calls(session, caller, values)
        return await insert(session, manager, values, request, deadline)


async def use_stored_history(
    session: AsyncSession, caller: Principal, request: RunRequest, values: dict[str, Any]
) -> None:
    """Drop what a conversation remembers: of outputs of tools, all but those of the newest calls."""
    values["replaces_history"] = request.replaces_history
    if not request.replaces_history:
        values["prelude"] = []
    if not request.is_whole_history or not request.tool_outputs:
        return
    run = await store.find_last_caller(session, caller, values["conversation_id"])
    pending = {call["call_id"] for call in run.tool_calls} if run else set()
    outputs = {
        item["call_id"]: item
        for item in (*request.prelude, *request.tool_outputs)
        if is_output(item) and item["call_id"] in pending
    }
    values["tool_outputs"] = [*outputs.values()] or values["tool_outputs"]


async def insert(
    session: AsyncSession,
    manager: RunManager,
    values: dict[str, Any],
    request: RunRequest,
    deadline: asyncio.Timeout,
) -> store.InsertedRun | None:
    """Insert a run, running or queued; none when its key has started one meanwhile."""
    chat = request.chat
    values["input_count"] = len(values["prelude"]) + (len(values["tool_outputs"]) or 1)
    inserted = await store.start(
        session, values, manager.lease, chat.on_conflict, is_alone=chat.conversation_id is None
    )
    if inserted is not None and request.blobs:
        await attachments.store(session, inserted.run, request.blobs)
    if inserted is not None and request.files:
        await copy_to_run(session, inserted.run, request.files)
    # A commit that is cancelled may have happened.
    deadline.reschedule(None)
    return inserted


async def repeated(
    manager: RunManager, caller: Principal, key: str | None, values: dict[str, Any]
) -> StartedRun:
    """Return the run of a request with the same key that was faster; raises IdempotencyInProgress."""
    if key and (earlier := await find_earlier(manager, caller, key, values)):
        return StartedRun(earlier, is_new=False)
    raise IdempotencyInProgress(retry_after=1)


async def initial_history(
    manager: RunManager, caller: Principal, conversation_id: UUID, prelude: History
) -> list[dict[str, Any]]:
    """Return what precedes the message in a conversation without runs; raises ConversationNotFound."""
    conversations = manager.conversation_client(caller)
    await conversations.create_if_missing(conversation_id)
    has_items = bool(prelude and await conversations.items(conversation_id, last=1))
    return [] if has_items else [*prelude]


async def find_earlier(
    manager: RunManager, caller: Principal, key: str, values: dict[str, Any]
) -> Run | None:
    """Find the run that this key has started, if there is one; raises IdempotencyConflict."""
    async with transaction(manager.database) as session:
        same = {name: values[name] for name in FINGERPRINT}
        return await store.find_by_key(session, caller, key, **same)


async def continue_calls(session: AsyncSession, caller: Principal, values: dict[str, Any]) -> None:
    """Continue with the agent that has called the tools whose outputs these are; raises ToolCallNotFound."""
    known = {item.get("call_id") for item in values["prelude"] if is_call(item)}
    for output in values["tool_outputs"]:
        run = await store.find_call(session, caller, values["conversation_id"], output["call_id"])
        if run is not None:
            values["first_agent"] = run.final_agent
            values["agent_versions"] = run.agent_versions
        elif output["call_id"] not in known:
            raise ToolCallNotFound(f"No tool call {output['call_id']!r} waits for an output here.")


def new_run_values(caller: Principal, request: RunRequest, key: str | None) -> dict[str, Any]:
    """Return what a request says of a run that begins."""
    options = request.options
    if request.chat.variables:
        options = options.model_copy(update={"variables": request.chat.variables})
    span = trace.get_current_span().get_span_context()
    return {
        "id": uuid4(),
        "tenant_id": caller.tenant_id,
        "user_id": caller.user_id,
        "agent": request.chat.agent_type,
        "message": request.chat.message,
        "content": [*request.content],
        "prelude": [*request.prelude],
        "tool_outputs": [*request.tool_outputs],
        "tool_outputs_digest": digest(request.tool_outputs),
        "options": options.model_dump(mode="json", exclude_defaults=True),
        "persistence": request.persistence,
        "first_agent": request.first_agent,
        "idempotency_key": key,
        "trace_id": trace.format_trace_id(span.trace_id) if span.is_valid else None,
    }


def digest(items: History) -> str | None:
    """Return a digest of what the client's tools gave, if anything."""
    return hashlib.sha256(orjson.dumps([*items])).hexdigest() if items else None


async def answer_approvals(
    manager: RunManager, caller: Principal, run_id: UUID, decisions: Mapping[UUID, Answer]
) -> StartedRun:
    """Store decisions, all or none; after the last pending one the run resumes.

    Raises RunNotFound, ApprovalNotFound, ApprovalAnswered, InvalidToolArguments, GuardrailTriggered,
    RunCapacityExceeded.
    """
    async with start_deadline() as deadline:
        decisions = await checked_decisions(manager, caller, run_id, decisions)
        last = await manager.event_source(run_id).last()
        async with transaction(manager.database) as session:
            for approval_id, decision in decisions.items():
                run, is_resumed = await approvals.decide(
                    session, caller, run_id, approval_id, decision, manager.lease
                )
            # A commit that is cancelled may have happened.
            deadline.reschedule(None)
    if is_resumed:
        manager.start(run)
    return StartedRun(run, is_new=True, last_event_id=last.seq if last and is_resumed else 0)


async def stop_run(manager: RunManager, caller: Principal, run_id: UUID) -> Run:
    """Stop a run; raises RunNotFound, RunAlreadyFinished."""
    async with manager.database.begin() as session:
        run = await store.cancel(session, caller, run_id)
    await manager.stop([run])
    return run


async def agent_not_found(manager: RunManager, tenant_id: UUID | None, name: str) -> AgentNotFound:
    """Return the error that says which agents and models a tenant may name."""
    models = names_for(manager.settings.direct_models, tenant_id, "chat")
    names = ", ".join([*await manager.selector.names(tenant_id), *models])
    return AgentNotFound(f"There is no agent or model called {name!r}. There are: {names}.")


def chat_response(turn: StartedRun, final: RunEvent) -> ChatAnswer:
    """Build the whole answer of a run that has ended, or waits; raises the error by which it failed."""
    payload: dict[str, Any] = final.json()
    if final.type == EventType.RUN_CANCELLED:
        raise RunCancelled(run_id=str(turn.run.id), headers=turn.headers())
    if final.type == EventType.RUN_FAILED:
        raise failures.from_payload(payload)
    return ChatAnswer(
        response=payload["output"] or "",
        conversation_id=turn.run.conversation_id,
        run_id=turn.run.id,
        agent_used=payload["agent"],
        handoff_occurred=bool(payload["handoffs"]),
        usage=Usage.model_validate(payload["usage"]),
        metadata={
            "model": turn.run.model,
            "handoffs": payload["handoffs"],
            "status": "waiting" if final.type == EventType.RUN_WAITING else "completed",
        },
    )

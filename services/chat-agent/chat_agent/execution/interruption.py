"""What a run asks a person before it continues, and how it continues with the decisions."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from agents import Agent, RunContextWrapper, RunState
from agents.exceptions import UserError
from agents.items import ToolApprovalItem
from agents.result import RunResultStreaming
from servicekit.database import Database

from chat_agent.agents.tool import RunContext
from chat_agent.clients.retry import retry_transaction
from chat_agent.errors import ApprovalExpired, CheckpointInvalid
from chat_agent.models import Approval, Run
from chat_agent.runs import approvals
from chat_agent.runs.call import Call
from chat_agent.runs.options import RunOptions


@dataclass(frozen=True)
class Interruption:
    """The approvals that a run waits for, and the state in which it waits."""

    approvals: list[Approval]
    state: str


def client_calls(result: RunResultStreaming, tool_names: frozenset[str]) -> list[dict[str, Any]]:
    """Return the calls of the caller's tools for which the SDK has stopped."""
    return [
        {"call_id": item.call_id or "", "name": item.name, "arguments": item.arguments or "{}"}
        for item in result.interruptions
        if item.name in tool_names
    ]


def interruption_of(
    run: Run, result: RunResultStreaming, tool_names: frozenset[str], context: RunContext
) -> Interruption | None:
    """Convert the approvals for which the SDK has stopped into what is stored while the run waits, if any."""
    items = [item for item in result.interruptions if item.name not in tool_names]
    requests = [approval_of(run, item, context) for item in items]
    if not requests:
        return None
    return Interruption(requests, result.to_state().to_string(context_serializer=lambda _context: {}))


def approval_of(run: Run, item: ToolApprovalItem, context: RunContext) -> Approval:
    """Build the row of one requested approval."""
    call_id = item.call_id or ""
    return Approval(
        id=uuid4(),
        run_id=run.id,
        call_id=call_id,
        agent=item.agent.name,
        parent_call_id=context.journal.nested.parents.get(call_id),
        name=item.name or "",
        arguments=item.arguments or "{}",
        sign_in=context.sign_ins.get(call_id),
    )


async def resume_state(
    database: Database, run: Run, agent: Agent[RunContext], options: RunOptions, context: RunContext
) -> RunState[RunContext]:
    """Restore the state in which a run waited, with the decisions applied.

    Raises CheckpointInvalid, ApprovalExpired.
    """
    rows = await retry_transaction(database, approvals.list_for_run, run.id)
    decisions = {row.call_id: row for row in rows}
    try:
        state = await RunState.from_string(
            agent, run.state or "", context_override=RunContextWrapper(context)
        )
    except UserError as error:
        raise CheckpointInvalid from error
    for item in state.get_interruptions():
        if item.name in options.tool_names:
            continue
        decision = decisions.get(item.call_id or "")
        if decision is None or decision.status in {"pending", "expired"}:
            raise ApprovalExpired
        if decision.status == "approved":
            if decision.edited_arguments is not None:
                context.edited_arguments[decision.call_id] = decision.edited_arguments
            state.approve(item)
        else:
            message = rejection_message(decision)
            state.reject(item, rejection_message=message)
            context.journal.nested.returned(call_of(decision), message)
    return state


def call_of(approval: Approval) -> Call:
    """Return the call that a person has decided on."""
    names = approval.agent, approval.name, approval.arguments
    return Call(approval.call_id, *names, parent_call_id=approval.parent_call_id)


def rejection_message(decision: Approval) -> str:
    """Return what the model reads about a rejected call."""
    return f"The person did not allow this. {decision.reason or ''}".strip()

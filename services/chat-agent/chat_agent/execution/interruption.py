"""What a run asks a person before it continues, and how it continues with the decisions."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from agents import Agent, RunContextWrapper, RunState
from agents.exceptions import UserError
from agents.items import ToolApprovalItem
from agents.result import RunResultStreaming

from chat_agent.agents.tool import RunContext
from chat_agent.errors import ApprovalExpired, CheckpointInvalid
from chat_agent.models import Approval, Run


@dataclass(frozen=True)
class Interruption:
    """The approvals that a run waits for, and the state in which it waits."""

    approvals: list[Approval]
    state: str


def interruption_of(run: Run, result: RunResultStreaming) -> Interruption:
    """Convert the SDK's interruptions into what is stored while the run waits."""
    requests = [approval_of(run, item) for item in result.interruptions]
    return Interruption(requests, result.to_state().to_string(context_serializer=lambda _context: {}))


def approval_of(run: Run, item: ToolApprovalItem) -> Approval:
    """Build the row of one requested approval."""
    return Approval(
        id=uuid4(),
        run_id=run.id,
        call_id=item.call_id or "",
        agent=item.agent.name,
        name=item.name or "",
        arguments=item.arguments or "{}",
    )


async def resume_state(
    run: Run, agent: Agent[RunContext], approvals: Sequence[Approval], context: RunContext
) -> RunState[RunContext]:
    """Restore the state in which a run waited, with the decisions applied.

    Raises CheckpointInvalid, ApprovalExpired.
    """
    decisions = {approval.call_id: approval for approval in approvals}
    try:
        state = await RunState.from_string(
            agent, run.state or "", context_override=RunContextWrapper(context)
        )
    except UserError as error:
        raise CheckpointInvalid from error
    for item in state.get_interruptions():
        decision = decisions.get(item.call_id or "")
        if decision is None or decision.status in {"pending", "expired"}:
            raise ApprovalExpired
        if decision.status == "approved":
            state.approve(item)
        else:
            state.reject(item, rejection_message=rejection_message(decision))
    return state


def rejection_message(decision: Approval) -> str:
    """Return what the model reads about a rejected call."""
    return f"The person did not allow this. {decision.reason or ''}".strip()

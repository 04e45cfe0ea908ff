"""How a run ends, and its last event."""

from dataclasses import dataclass, field, replace
from typing import Any

from servicekit.errors import ServiceError

from chat_agent.errors import GuardrailTriggered, GuardrailUnavailable, QuotaExceeded
from chat_agent.event_log.store import EventType
from chat_agent.event_log.translator import redact
from chat_agent.models import Approval, Run
from chat_agent.schemas import Usage

# Of the error of a guardrail, before and after a run begins.
GUARDRAIL_MEMBERS = ("guardrail", "stage")


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    status: str
    agent: str
    handoffs: list[str] = field(default_factory=list)
    output: str | None = None
    usage: Usage = field(default_factory=Usage)
    error_code: str | None = None
    error_detail: str | None = None
    cost: int | None = None
    is_truncated: bool = False
    # The calls of the caller's tools with which it ended.
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    # The limit that ended the run: what, how much, and until when.
    exceeded_quota: dict[str, Any] | None = None
    # The guardrail that ended the run, and its stage.
    guardrail: str | None = None
    stage: str | None = None
    # Whether a guardrail did not allow the message, which then is not stored either.
    is_withdrawn: bool = False


def outcome_from_row(run: Run) -> Outcome:
    """Return how a run ended, from its row."""
    return Outcome(
        run.status,
        run.final_agent or run.agent,
        run.handoffs,
        run.output,
        Usage.model_validate(run.usage),
        run.error_code,
        run.error_detail,
        is_truncated=run.is_truncated,
        tool_calls=run.tool_calls,
        exceeded_quota=run.exceeded_quota,
        guardrail=run.guardrail,
        stage=run.guardrail_stage,
    )


def with_failure(outcome: Outcome, failure: ServiceError) -> Outcome:
    """Return the outcome of a run that failed: the code, and the limit or the guardrail that ended it."""
    is_guardrail = isinstance(failure, GuardrailTriggered | GuardrailUnavailable)
    named: dict[str, Any] = (
        {name: failure.extensions[name] for name in GUARDRAIL_MEMBERS} if is_guardrail else {}
    )
    return replace(
        outcome,
        error_code=failure.code(),
        error_detail=failure.detail,
        exceeded_quota=failure.extensions if isinstance(failure, QuotaExceeded) else None,
        **named,
    )


def terminal_event(outcome: Outcome) -> tuple[str, dict[str, object]]:
    """Return the last event of a run that ended so."""
    payload = {"output": outcome.output, **outcome_payload(outcome)}
    if outcome.tool_calls:
        payload["tool_calls"] = outcome.tool_calls
    if outcome.is_truncated:
        payload["truncated"] = True
    if outcome.error_code is not None:
        payload |= {"code": outcome.error_code, "detail": outcome.error_detail}
    if outcome.exceeded_quota is not None:
        payload["quota"] = outcome.exceeded_quota
    if outcome.guardrail is not None:
        payload |= {"guardrail": outcome.guardrail, "stage": outcome.stage}
    return EventType(f"run.{outcome.status}"), payload


def outcome_payload(outcome: Outcome) -> dict[str, object]:
    """Return the payload that all last events have."""
    return {
        "agent": outcome.agent,
        "handoffs": outcome.handoffs,
        "usage": outcome.usage.model_dump(mode="json"),
    }


def approval_payload(approval: Approval) -> dict[str, object]:
    """Return the payload of a request for approval."""
    sign_in = {"sign_in": approval.sign_in} if approval.sign_in else {}
    parent = approval.parent_call_id
    nested = {"agent": approval.agent, "parent_call_id": parent} if parent else {}
    return {
        **sign_in,
        **nested,
        "approval_id": str(approval.id),
        "call_id": approval.call_id,
        "name": approval.name,
        "arguments": redact(approval.arguments),
    }

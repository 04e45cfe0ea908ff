"""At whose fault a run failed, by the code of its error."""

from http import HTTPStatus
from typing import Literal, get_args

from servicekit.errors import ServiceError

from chat_agent import errors
from chat_agent.model.failures import BY_CODE

Fault = Literal["caller", "limit", "guardrail", "provider", "tool", "service"]
FAULTS: tuple[Fault, ...] = get_args(Fault)

BY_ERROR: dict[type[ServiceError], Fault] = {
    errors.ApprovalExpired: "caller",
    errors.ModelRefusedRequest: "provider",
    errors.ModelUnavailable: "provider",
    errors.ModelRateLimited: "provider",
    errors.ModelTimedOut: "provider",
    errors.ModelFailed: "provider",
    errors.ModelRefusedAnswer: "provider",
    errors.ModelAuthenticationFailed: "provider",
    errors.ModelOutputInvalid: "provider",
    errors.ModelAnswerIncomplete: "provider",
    errors.QuotaExceeded: "limit",
    errors.ConversationLimitReached: "limit",
    errors.TokenBudgetExceeded: "limit",
    errors.MaxTurnsExceeded: "limit",
    errors.RunTimedOut: "limit",
    errors.GuardrailTriggered: "guardrail",
    errors.GuardrailUnavailable: "provider",
    errors.ToolOutcomeUnknown: "tool",
    errors.CheckpointInvalid: "service",
}


def fault_of(code: str) -> Fault:
    """Return at whose fault a run failed: of what is not listed, a client's error is the caller's."""
    kind = BY_CODE.get(code, errors.InternalError)
    is_client_error = kind.status < HTTPStatus.INTERNAL_SERVER_ERROR
    return BY_ERROR.get(kind, "caller" if is_client_error else "service")

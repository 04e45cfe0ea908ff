"""Every way in which a run can fail, as an error with a stable code."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import openai
from agents.exceptions import AgentsException, MaxTurnsExceeded, ModelRefusalError, ModelTimeoutError
from servicekit.errors import ServiceError

from chat_agent import errors
from chat_agent.clients.billing import quota_exceeded
from chat_agent.provider_keys.errors import ProviderKeyRefused


def to_service_error(error: BaseException) -> ServiceError:
    """Return what went wrong a name that clients can rely on; nothing of the other side's text shows."""
    # What a tool of ours raises, the SDK wraps into an error of its own.
    for cause in causes(error):
        if isinstance(cause, ServiceError):
            return cause
    for kind, error_class in FAILURES:
        if isinstance(error, kind):
            return error_class()
    return errors.InternalError()


# Limits that refuse a call before the model is asked: nothing is wrong with the model.
LIMIT_ERRORS = (errors.TokenBudgetExceeded, errors.QuotaExceeded, errors.BillingUnavailable)
# What the parsers raise, ours and the SDK's, where an answer is not what the protocol says.
UNREADABLE = (ValueError, TypeError, AttributeError, LookupError)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Return an error, and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__


def from_model_error(error: Exception) -> ServiceError:
    """Convert an error of a model call; a response that cannot be parsed is a ModelFailed."""
    failure = errors.ModelFailed() if isinstance(error, UNREADABLE) else to_service_error(error)
    is_timeout = isinstance(error, openai.APIStatusError) and error.status_code == HTTPStatus.REQUEST_TIMEOUT
    if is_timeout or isinstance(error, TimeoutError):
        failure = errors.ModelTimedOut()
    if seconds := retry_after_seconds(error):
        failure.retry_after = seconds
    return failure


def retry_after_seconds(error: BaseException | None) -> float:
    """Return the seconds for which the provider asks us to wait; 0 when it asks for none that can be read."""
    if not isinstance(error, openai.APIStatusError):
        return 0
    try:
        seconds = float(error.response.headers.get("retry-after", "0"))
    except ValueError:
        return 0
    return seconds if 0 <= seconds < float("inf") else 0


def from_payload(payload: Mapping[str, Any]) -> ServiceError:
    """Return the error that the last event of a failed run stands for, with the ids of the run."""
    quota = payload.get("quota")
    error = quota_exceeded(quota) if quota else from_code(payload.get("code"), payload.get("detail"))
    run_id = payload["run_id"]
    members = ("guardrail", "stage", "run_id")
    error.extensions |= {name: payload[name] for name in members if payload.get(name) is not None}
    error.headers |= {"Acme-Run-Id": run_id, "Acme-Conversation-Id": payload["conversation_id"]}
    return error


def from_code(code: str | None, detail: str | None) -> ServiceError:
    """Return the error that a failed run's code stands for."""
    return BY_CODE.get(code or "", errors.InternalError)(detail or "")


# The first that fits; subclasses stand before their bases.
FAILURES: tuple[tuple[type[BaseException], type[ServiceError]], ...] = (
    (MaxTurnsExceeded, errors.MaxTurnsExceeded),
    (ModelTimeoutError, errors.ModelTimedOut),
    (ModelRefusalError, errors.ModelRefusedAnswer),
    (AgentsException, errors.ModelFailed),
    (openai.APITimeoutError, errors.ModelTimedOut),
    (openai.APIConnectionError, errors.ModelUnavailable),
    (openai.RateLimitError, errors.ModelRateLimited),
    (openai.AuthenticationError, errors.ModelAuthenticationFailed),
    (openai.PermissionDeniedError, errors.ModelAuthenticationFailed),
    (openai.ConflictError, errors.ModelUnavailable),
    (openai.InternalServerError, errors.ModelUnavailable),
    (openai.APIStatusError, errors.ModelRefusedRequest),
    (openai.APIError, errors.ModelUnavailable),
    (TimeoutError, errors.RunTimedOut),
)
STORED_ERRORS: list[type[ServiceError]] = [
    *(kind for _, kind in FAILURES),
    errors.ConversationUnavailable,
    errors.ConversationLimitReached,
    errors.AuthUnavailable,
    errors.BillingUnavailable,
    errors.QuotaExceeded,
    errors.GuardrailTriggered,
    errors.GuardrailUnavailable,
    errors.TenantSuspended,
    errors.MembershipEnded,
    errors.ConversationNotFound,
    errors.ModelAnswerIncomplete,
    errors.ModelOutputInvalid,
    errors.TokenBudgetExceeded,
    errors.WorkerLost,
    errors.ToolOutcomeUnknown,
    errors.ApprovalExpired,
    errors.CheckpointInvalid,
    errors.TokenExpired,
    ProviderKeyRefused,
]
BY_CODE = {kind.code(): kind for kind in STORED_ERRORS}

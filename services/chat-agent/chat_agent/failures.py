"""Every way in which a run can fail, as an error with a stable code."""

import openai
from agents.exceptions import AgentsException, MaxTurnsExceeded, ModelTimeoutError
from servicekit.errors import ServiceError

from chat_agent import errors


def name(error: BaseException) -> ServiceError:
    """Give what went wrong a name that clients can rely on; nothing of the other side's text shows."""
    if isinstance(error, ServiceError):
        return error
    for kind, named in FAILURES:
        if isinstance(error, kind):
            return named()
    return errors.InternalError()


def named(code: str | None, detail: str | None) -> ServiceError:
    """Give the error that a failed run's code stands for."""
    return BY_CODE.get(code or "", errors.InternalError)(detail or "")


# The first that fits; subclasses stand before their bases.
FAILURES: tuple[tuple[type[BaseException], type[ServiceError]], ...] = (
    (MaxTurnsExceeded, errors.MaxTurnsExceeded),
    (ModelTimeoutError, errors.ModelTimedOut),
    (AgentsException, errors.ModelFailed),
    (openai.APITimeoutError, errors.ModelTimedOut),
    (openai.APIConnectionError, errors.ModelUnavailable),
    (openai.RateLimitError, errors.ModelRateLimited),
    (openai.InternalServerError, errors.ModelUnavailable),
    (openai.APIStatusError, errors.ModelRefusedRequest),
    (openai.APIError, errors.ModelUnavailable),
    (TimeoutError, errors.RunTimedOut),
)
NAMED: list[type[ServiceError]] = [
    *(kind for _, kind in FAILURES),
    errors.ConversationUnavailable,
    errors.UnknownConversation,
    errors.ReplicaLost,
]
BY_CODE = {kind.code(): kind for kind in NAMED}

"""The errors of this service, beside those of every service."""

from http import HTTPStatus
from typing import ClassVar

from servicekit.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    NotFound,
    PayloadTooLarge,
    ServiceError,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    Unprocessable,
)


class AgentNotFound(NotFound):
    """There is no agent of this name."""


class ModelNotFound(NotFound):
    """There is no model of this name that the caller may use here."""


class ToolCallNotFound(NotFound):
    """The caller's tool was not called in this conversation, or not with this id."""

    default_detail = "No tool call with this id waits for an output."


class RunNotFound(NotFound):
    """The caller has no such run."""

    default_detail = "Run not found."


class ItemNotFound(NotFound):
    """The conversation has no such item."""

    default_detail = "Item not found."


class ConversationNotFound(NotFound):
    """The caller has no such conversation."""

    default_detail = "Conversation not found."


class ApprovalNotFound(NotFound):
    """The run has no such approval request."""

    default_detail = "Approval request not found."


class ConversationBusy(Conflict):
    """Another run is unfinished in this conversation, and only one may be active."""

    default_detail = (
        "Another run is active in this conversation. Wait until it ends, or use another conversation."
    )


class RunCapacityExceeded(TooManyRequests):
    """More runs begin at once than this replica can start."""

    default_detail = "Too many runs are starting at once. Try again shortly."


class RunCancelled(Conflict):
    """The run was cancelled while the request waited for its answer."""

    default_detail = "The run was cancelled."


class RunAlreadyFinished(Conflict):
    """The run has ended and cannot be changed."""

    default_detail = "The run has already finished."


class ApprovalAnswered(Conflict):
    """The approval request is closed: decided, expired, or its run was stopped."""

    default_detail = "This approval request is closed: it was decided, it expired, or the run was stopped."


class InvalidToolArguments(Unprocessable):
    """The arguments do not match the schema of the tool; the approval stays open."""


class TokenExpired(Unauthenticated):
    """The token of a stream expired or was revoked; the run continues."""

    default_detail = "The access token expired or was revoked. Reconnect with a new one; the run continues."


class InvalidEventId(BadRequest):
    """The event id to resume after is invalid."""

    default_detail = "Last-Event-ID (or `after`) must be the number of an event of this run."


class RunLogExpired(Gone):
    """The events of the run have expired; its result has not."""

    default_detail = "The events of this run have expired. Read the run itself for its result."


class ConversationLimitReached(Conflict):
    """A storage limit of the conversation, its user or the tenant is reached."""

    default_detail = "The storage limit is reached. Start a new conversation, or delete some."


class Superseded(Exception):  # never a response: the run continues elsewhere
    """A newer attempt executes the run."""


class ToolFailed(Exception):  # never a response: the model reads its message
    """A tool cannot do what it was called for, for a reason that the model may know."""

    # The code in the row of the call: one of `runs.tool_errors`.
    tool_error: ClassVar[str] = "tool_failed"


class ConversationUnavailable(Unavailable):
    """The conversation service does not answer."""


class AuthUnavailable(Unavailable):
    """The auth service does not answer, so the membership cannot be checked."""


class BillingUnavailable(Unavailable):
    """The billing service does not answer, and the tenant may have limits."""

    default_detail = "The billing service does not answer, so limits cannot be checked. Try again shortly."


class QuotaExceeded(ServiceError):
    """A limit of the plan or of a budget is reached; the members say which, how much, and until when."""

    status = HTTPStatus.PAYMENT_REQUIRED
    default_detail = "A limit of the plan or of a budget is reached."


class QuotaExceededToday(QuotaExceeded):
    """A limit is reached that resets within a day. The code is the same."""

    status = HTTPStatus.TOO_MANY_REQUESTS

    @classmethod
    def code(cls) -> str:
        """Return the code of every limit that is reached."""
        return QuotaExceeded.code()


class GuardrailTriggered(BadRequest):
    """A guardrail does not allow what was written; the members name it and its stage."""

    default_detail = "A guardrail does not allow this text."
    # Whether the text is of the request, also at stages that check what models and tools write.
    is_about_request = False


class GuardrailUnavailable(ServiceError):
    """A guardrail could not check what was written; the members name it and its stage."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    default_detail = "A guardrail could not check this text. Try again later."
    is_about_request = False


class TenantSuspended(Forbidden):
    """The tenant was suspended before the run could resume."""

    default_detail = "The tenant is suspended, so the run was not resumed."


class MembershipEnded(Forbidden):
    """The user may not have runs in this tenant any more."""

    default_detail = "The user may no longer have runs in this tenant, so the run was not resumed."


class ModelUnavailable(Unavailable):
    """The model does not answer, also after retries."""

    default_detail = "The model does not answer. Try again shortly."


class ModelRateLimited(Unavailable):
    """The model's provider limits our rate, also after retries."""

    default_detail = "The model's provider is rate limiting us. Try again shortly."


class ModelTimedOut(ServiceError):
    """The model took too long."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    default_detail = "The model took too long to answer."


class ModelFailed(ServiceError):
    """The model's response is invalid."""

    status = HTTPStatus.BAD_GATEWAY
    default_detail = "The model's response is invalid."


class ModelRefusedRequest(ModelFailed):
    """The model's provider rejected the request; retrying does not help."""

    default_detail = "The provider rejected the request: it does not know the model, or refuses a parameter."


class ModelRefusedAnswer(ModelFailed):
    """The model refused where a schema was required; elsewhere a refusal is an answer."""

    default_detail = "The model refused to answer."


class ModelAuthenticationFailed(ModelFailed):
    """The model's provider rejected our credentials; an operator must act."""

    default_detail = "The model's provider rejected this service's credentials."


class ModelOutputInvalid(ModelFailed):
    """The model's answer is not the JSON that the caller requires."""

    default_detail = "The model's answer does not match the schema."


class ModelAnswerIncomplete(ModelFailed):
    """The model stopped early: at its token limit, or at its provider's filter."""

    default_detail = "The model stopped before its answer was complete."


class TokenBudgetExceeded(ServiceError):
    """The run used more tokens than a run may."""

    status = HTTPStatus.BAD_GATEWAY
    default_detail = "The run used more tokens than a run may."


class MaxTurnsExceeded(ModelFailed):
    """The agents did not finish within the turns of a run."""

    default_detail = "The agents did not finish within the allowed number of turns."


class RunTimedOut(ModelFailed):
    """The run took longer than a run may."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    default_detail = "The run took longer than a run may."


class WorkerLost(ModelFailed):
    """The processes that executed the run were lost, repeatedly."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    default_detail = "The processes that executed the run were lost repeatedly. The partial answer is stored."


class ToolOutcomeUnknown(ModelFailed):
    """A process was lost during a tool call that must not be repeated."""

    default_detail = "The process that called a tool was lost, and the call must not be repeated."


class ApprovalExpired(ModelFailed):
    """The approval requests of the run were not decided in time."""

    status = HTTPStatus.CONFLICT
    default_detail = "The approval request expired. Start the run again."


class CheckpointInvalid(ModelFailed):
    """The run cannot resume: its agents have changed since it was suspended."""

    default_detail = "The run cannot resume, because its agents have changed since it was suspended."


class InvalidAttachment(BadRequest):
    """An image or a file of a message cannot be read."""

    def __init__(self, param: str, detail: str) -> None:
        super().__init__(detail, param=param)


class MessageTooLong(BadRequest):
    """A message is longer than is taken here, or than fits into the model."""


class AttachmentsTooLarge(PayloadTooLarge):
    """The images and files of a request have more bytes than the tenant's plan allows."""

    def __init__(self, most: int) -> None:
        super().__init__(f"The images and files of a request have at most {most} bytes in your plan.")


class InternalError(ServiceError):
    """An unexpected error."""

    default_detail = "An internal error occurred. Report the run's id."

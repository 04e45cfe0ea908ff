"""What can go wrong here, beside what can go wrong everywhere."""

from http import HTTPStatus

from servicekit.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    NotFound,
    ServiceError,
    Unauthenticated,
    Unavailable,
)


class AgentNotFound(NotFound):
    """No agent goes by this name."""


class RunNotFound(NotFound):
    """There is no such run, as far as this caller may know."""

    default_detail = "There is no such run."


class ConversationNotFound(NotFound):
    """There is no such conversation, as far as this caller may know."""

    default_detail = "There is no such conversation."


class ApprovalNotFound(NotFound):
    """The run has not asked for this approval."""

    default_detail = "The run has not asked for this approval."


class ConversationBusy(Conflict):
    """Other runs are under way in this conversation; two at once would garble what was said."""

    default_detail = "This conversation is still being answered. Wait for the run to end, or use another one."


class RunCancelled(Conflict):
    """Somebody has cancelled the run while its answer was waited for."""

    default_detail = "The run was cancelled."


class RunAlreadyFinished(Conflict):
    """The run has ended, and cannot be changed any more."""

    default_detail = "The run is over."


class ApprovalAnswered(Conflict):
    """The approval is not open any more: it was answered, its time is over, or the run was stopped."""

    default_detail = "This approval is not open any more."


class TokenExpired(Unauthenticated):
    """The token with which a stream was opened has expired, or was revoked; the run itself goes on."""

    default_detail = "The access token is no longer good. Come again with another one; the run goes on."


class InvalidEventId(BadRequest):
    """The place to resume from is not one."""

    default_detail = "Last-Event-ID (or `after`) must be the number of an event of this run."


class RunLogExpired(Gone):
    """The run is over for so long that its events are no longer kept; its result still is."""

    default_detail = "The events of this run are no longer kept; read the run itself."


class ConversationLimitReached(Conflict):
    """The conversation, its owner or the tenant keeps as much as it may; waiting does not help."""

    default_detail = "As much is kept as may be. Begin a new conversation, or delete some."


class Superseded(Exception):  # never an answer to anybody: the run goes on, elsewhere
    """Somebody else works on the run by now."""


class ConversationUnavailable(Unavailable):
    """The conversation service does not answer, so nothing could be remembered."""


class AuthUnavailable(Unavailable):
    """The auth service does not answer, so nobody can tell whether a run's owner still may."""


class TenantSuspended(Forbidden):
    """The tenant was suspended while the run rested or its process was lost."""

    default_detail = "The tenant is suspended, so the run does not go on."


class MembershipEnded(Forbidden):
    """The run's owner is no longer somebody in the tenant who may have runs."""

    default_detail = "Whose run it is may not have runs in this tenant any more, so it does not go on."


class ModelUnavailable(Unavailable):
    """The model does not answer, also after retries."""

    default_detail = "The model does not answer. Try again shortly."


class ModelRateLimited(Unavailable):
    """The model's provider asks us to slow down, also after retries."""

    default_detail = "The model's provider is rate limiting us. Try again shortly."


class ModelTimedOut(ServiceError):
    """The model took too long."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    default_detail = "The model took too long to answer."


class ModelFailed(ServiceError):
    """The model answered with something that cannot be used."""

    status = HTTPStatus.BAD_GATEWAY
    default_detail = "The model's answer could not be used."


class ModelRefusedRequest(ModelFailed):
    """The model's provider does not accept what it was asked; trying again will not help."""

    default_detail = "The model's provider did not accept the request."


class ModelRefusedAnswer(ModelFailed):
    """The model refused where an answer of a certain shape was wanted; elsewhere a refusal is an answer."""

    default_detail = "The model refused to answer."


class ModelAuthenticationFailed(ModelFailed):
    """The model's provider does not accept our credentials; only an operator can help."""

    default_detail = "The model's provider does not accept this service's credentials."


class ModelAnswerIncomplete(ModelFailed):
    """The model stopped in the middle: at its limit of tokens, or at its provider's filter."""

    default_detail = "The model stopped before its answer was complete."


class TokenBudgetExceeded(ServiceError):
    """The run used more tokens than a run may."""

    status = HTTPStatus.BAD_GATEWAY
    default_detail = "The run used more tokens than a run may."


class MaxTurnsExceeded(ModelFailed):
    """The agents went round in circles."""

    default_detail = "The agents did not come to an end within the allowed number of turns."


class RunTimedOut(ModelFailed):
    """The run took longer than a run may."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    default_detail = "The run took longer than a run may."


class WorkerLost(ModelFailed):
    """The processes that ran this died, again and again."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    default_detail = "The processes that worked on this were lost, again and again. What was said is kept."


class ToolOutcomeUnknown(ModelFailed):
    """A process died while it called a tool that must not be called twice."""

    default_detail = "The process that called a tool was lost, and the call is not repeated."


class ApprovalExpired(ModelFailed):
    """Nobody answered in time what the run had asked."""

    status = HTTPStatus.CONFLICT
    default_detail = "Nobody allowed or refused in time what the run had asked for."


class CheckpointInvalid(ModelFailed):
    """The run cannot go on from where it waited: the agents have changed since."""

    default_detail = "The run cannot go on from where it waited: its agents have changed since."


class InternalError(ServiceError):
    """Something that nobody foresaw."""

    default_detail = "Something went wrong on our side. Tell us the run's id."

"""The errors of tenants' HTTP tools."""

from collections.abc import Sequence

from servicekit.errors import Conflict, NotFound, Unprocessable

from chat_agent.documents import DefinitionProblem
from chat_agent.errors import ToolFailed

MAX_PROBLEMS = 8


class ToolNotFound(NotFound):
    """The tenant has no such tool."""


class ToolAlreadyExists(Conflict):
    """The name is a tool's of the service."""


class TooManyTools(Conflict):
    """The tenant has as many tools as it may have."""

    default_detail = "This tenant has as many tools as it may have. Delete one first."


class InvalidTool(Unprocessable):
    """The tool cannot be called; `problems` says where and why."""

    def __init__(self, problems: Sequence[DefinitionProblem]) -> None:
        first = problems[0]
        listed = [problem.model_dump() for problem in problems[:MAX_PROBLEMS]]
        super().__init__(f"{first.path}: {first.message}", problems=[*listed])


class ServerUnavailable(ToolFailed, ConnectionError):  # a ConnectionError: an idempotent call is repeated
    """The server of a tool does not answer, which may pass."""

    tool_error = "tool_server_unavailable"

"""The errors of agents that are data."""

from collections.abc import Sequence

from servicekit.errors import BadRequest, Conflict, NotFound, Unprocessable

from chat_agent.documents import DefinitionProblem

MAX_PROBLEMS = 8


class AgentVersionNotFound(NotFound):
    """The agent has no such version."""


class AgentAlreadyExists(Conflict):
    """The name is an agent's of the service."""


class AgentInUse(Conflict):
    """Other agents hand over to it, or call it as a tool."""


class ToolInUse(Conflict):
    """Agents that answer use the tool."""


class NoEarlierVersion(Conflict):
    """There is no version to roll back to."""

    default_detail = "No earlier version was published."


class TooManyAgents(Conflict):
    """The tenant has as many agents as it may have."""

    default_detail = "This tenant has as many agents as it may have. Delete one first."


class PlanOutdated(Conflict):
    """What the plan says has changed since."""

    default_detail = "The agents have changed since this plan was made. Make it anew."


class InvalidAgentDefinition(Unprocessable):
    """The definition cannot be published; `problems` says where and why."""

    def __init__(self, problems: Sequence[DefinitionProblem]) -> None:
        first = problems[0]
        listed = [problem.model_dump() for problem in problems[:MAX_PROBLEMS]]
        super().__init__(f"{first.path}: {first.message}", problems=[*listed])


class InvalidVariables(BadRequest):
    """The values of variables do not fit the agent's definition; `param` says where."""

    def __init__(self, param: str, detail: str) -> None:
        super().__init__(detail, param=param)

"""The tools that clients execute themselves, as every protocol defines them."""

from collections.abc import Collection, Mapping
from typing import Annotated

from pydantic import Field

from chat_agent.event_log.recovery import HANDOFF
from chat_agent.execution.agent_graph import AgentProfile
from chat_agent.model.schema_validation import measure_schema
from chat_agent.protocols.errors import InvalidParameter, ParameterNotAllowed
from chat_agent.protocols.json_schemas import check_schema
from chat_agent.protocols.requests import LenientModel, Members, Text
from chat_agent.runs.options import ClientTool, RunOptions
from chat_agent.settings import Settings

MAX_TOOLS = 128
ToolName = Annotated[str, Field(pattern="^[a-zA-Z0-9_-]{1,64}$")]


class FunctionFields(LenientModel):
    """What a client says of a function besides its name."""

    description: Text | None = None
    parameters: Members | None = None
    strict: bool | None = None

    def to_client_tool(self, name: str, place: str) -> ClientTool:
        """Return the tool; raises InvalidParameter where its parameters are no JSON schema."""
        schema = self.parameters or {"type": "object", "properties": {}}
        check_schema(schema, f"{place}.parameters", is_strict=bool(self.strict), check=measure_schema)
        return ClientTool(
            name=name, description=self.description, parameters=schema, is_strict=bool(self.strict)
        )


class NamedFunction(FunctionFields):
    """A function that the client executes."""

    name: ToolName


def tool_options(tools: Mapping[str, ClientTool], agent: AgentProfile, settings: Settings) -> RunOptions:
    """Return the options of a run with tools by their place; raises InvalidParameter, ParameterNotAllowed."""
    if not tools:
        return RunOptions()
    if "tools" in denied_parameters(settings, agent.name):
        raise ParameterNotAllowed("tools", agent.name)
    check_names(tools, agent.tool_names)
    return RunOptions(tools=[*tools.values()])


def denied_parameters(settings: Settings, agent: str) -> frozenset[str]:
    """Return what callers may not set for an agent."""
    denied = settings.denied_parameters
    return denied.get("*", frozenset()) | denied.get(agent, frozenset())


def is_own_tool(name: str, agent: AgentProfile) -> bool:
    """Return whether the server executes the tools of this name."""
    return name.startswith(HANDOFF) or name in agent.tool_names


def check_names(tools: Mapping[str, ClientTool], own: Collection[str]) -> None:
    """Raise InvalidParameter where a name stands for more than one tool, or for one of the agents' own."""
    taken = set(own)
    for place, tool in tools.items():
        if tool.name in taken or tool.name.startswith(HANDOFF):
            raise InvalidParameter(place, f"There is a tool called {tool.name!r} already.")
        taken.add(tool.name)

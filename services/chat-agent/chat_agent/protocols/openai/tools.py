"""The tools that OpenAI's clients execute themselves."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Protocol

from pydantic import Field

from chat_agent.agents import AGENTS
from chat_agent.event_log.recovery import HANDOFF
from chat_agent.execution.agent_graph import names_of
from chat_agent.protocols.openai.errors import InvalidParameter, UnsupportedParameter
from chat_agent.protocols.openai.json_schemas import check_schema
from chat_agent.protocols.requests import LenientModel, Members, Name, Text
from chat_agent.runs.options import ClientTool

MAX_TOOLS = 128


class ToolDefinition(Protocol):
    """A tool as one of the APIs writes it."""

    def to_tool(self, place: str) -> ClientTool:
        """Return the tool."""
        ...


class FunctionDefinition(LenientModel):
    """A function that the client executes."""

    name: Annotated[str, Field(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    description: Text | None = None
    parameters: Members | None = None
    strict: bool | None = None

    def to_tool(self, place: str) -> ClientTool:
        """Return the tool; raises InvalidParameter where its parameters are no JSON schema."""
        schema = self.parameters or {"type": "object", "properties": {}}
        check_schema(schema, f"{place}.parameters", is_strict=bool(self.strict))
        return ClientTool(
            name=self.name, description=self.description or "", parameters=schema, is_strict=bool(self.strict)
        )


class CompletionTool(LenientModel):
    """A tool of Chat Completions."""

    type: Name
    function: FunctionDefinition | None = None

    def to_tool(self, place: str) -> ClientTool:
        """Return the tool; raises UnsupportedParameter, InvalidParameter."""
        if self.type != "function" or self.function is None:
            raise unsupported_tool(place, self.type)
        return self.function.to_tool(f"{place}.function")


class ResponseTool(LenientModel):
    """A tool of Responses."""

    type: Name
    name: Annotated[str, Field(pattern="^[a-zA-Z0-9_-]{1,64}$")] | None = None
    description: Text | None = None
    parameters: Members | None = None
    strict: bool | None = None

    def to_tool(self, place: str) -> ClientTool:
        """Return the tool; raises UnsupportedParameter, InvalidParameter."""
        if self.type != "function" or self.name is None:
            raise unsupported_tool(place, self.type)
        definition = FunctionDefinition(
            name=self.name, description=self.description, parameters=self.parameters, strict=self.strict
        )
        return definition.to_tool(place)


class NamedFunction(LenientModel):
    """The name of a function."""

    name: Name


class ToolChoice(LenientModel):
    """A tool by its name, as either API writes it."""

    type: Name
    name: Name | None = None
    function: NamedFunction | None = None

    @property
    def chosen(self) -> str:
        """Return the name of the tool."""
        return self.function.name if self.function else self.name or ""


def client_tools(definitions: Iterable[ToolDefinition], agent: str) -> list[ClientTool]:
    """Return the tools of a request; raises UnsupportedParameter, InvalidParameter.

    A name may stand for one tool only, and for none of the agents' own.
    """
    tools = [one.to_tool(f"tools[{index}]") for index, one in enumerate(definitions)]
    taken = set(names_of(AGENTS[agent])) if agent in AGENTS else set()
    for index, tool in enumerate(tools):
        if tool.name in taken or tool.name.startswith(HANDOFF):
            raise InvalidParameter(f"tools[{index}]", f"There is a tool called {tool.name!r} already.")
        taken.add(tool.name)
    return tools


def check_choice(choice: str, tools: Sequence[ClientTool], agent: str) -> str:
    """Return which tool the model has to call; raises InvalidParameter for one that there is not."""
    own = names_of(AGENTS[agent]) if agent in AGENTS else frozenset()
    if choice not in {"auto", "none", "required", *own, *(tool.name for tool in tools)}:
        raise InvalidParameter("tool_choice", f"There is no tool called {choice!r}.")
    return choice


def unsupported_tool(place: str, type: str) -> UnsupportedParameter:
    """Return the error about a tool of a type that is not taken."""
    return UnsupportedParameter(
        f"{place}.type", f"Tools of type `{type}` are not taken here, only `function`."
    )

"""The tools that OpenAI's clients execute themselves."""

from collections.abc import Collection

from chat_agent.protocols.client_tools import FunctionFields, NamedFunction, ToolName
from chat_agent.protocols.errors import InvalidParameter, UnsupportedParameter
from chat_agent.protocols.requests import LenientModel, Name
from chat_agent.runs.options import ClientTool


class ToolDefinition(LenientModel):
    """A tool as one of the APIs writes it."""

    type: Name

    def to_tool(self, place: str) -> ClientTool:
        """Return the tool; raises UnsupportedParameter for one that is no function, InvalidParameter."""
        raise UnsupportedParameter(
            f"{place}.type", f"Tools of type `{self.type}` are not taken here, only `function`."
        )


class CompletionTool(ToolDefinition):
    """A tool of Chat Completions."""

    function: NamedFunction | None = None

    def to_tool(self, place: str) -> ClientTool:
        """See `ToolDefinition`."""
        if self.type != "function" or self.function is None:
            return super().to_tool(place)
        return self.function.to_client_tool(self.function.name, f"{place}.function")


class ResponseTool(ToolDefinition, FunctionFields):
    """A tool of Responses."""

    name: ToolName | None = None

    def to_tool(self, place: str) -> ClientTool:
        """See `ToolDefinition`."""
        if self.type != "function" or self.name is None:
            return super().to_tool(place)
        return self.to_client_tool(self.name, place)


class FunctionName(LenientModel):
    """The name of a function."""

    name: Name


class ToolChoice(LenientModel):
    """A tool by its name, as either API writes it."""

    type: Name
    name: Name | None = None
    function: FunctionName | None = None

    @property
    def chosen(self) -> str:
        """Return the name of the tool."""
        return self.function.name if self.function else self.name or ""


def check_choice(choice: str, names: Collection[str]) -> str:
    """Return which tool the model has to call; raises InvalidParameter for one that there is not."""
    if choice not in {"auto", "none", "required", *names}:
        raise InvalidParameter("tool_choice", f"There is no tool called {choice!r}.")
    return choice

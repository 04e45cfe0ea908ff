"""The tools that OpenAI's clients execute themselves."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from chat_agent.event_log.recovery import HANDOFF
from chat_agent.models import Run
from chat_agent.protocols.client_tools import MAX_TOOLS, FunctionFields, NamedFunction, ToolName
from chat_agent.protocols.errors import InvalidParameter, UnsupportedParameter
from chat_agent.protocols.openai.custom_tools import CustomFields, input_of
from chat_agent.protocols.requests import LenientModel, Name, Parts
from chat_agent.runs.options import ClientTool

MAX_NAME = 64
# Stands before names that handoffs have: those of clients end the run as other calls of their tools do.
CLIENT = "client__"


class ToolDefinition(LenientModel):
    """A tool as one of the APIs writes it."""

    taken: ClassVar[str] = "`function` and `custom`"

    type: Name

    def to_tools(self, place: str) -> Iterator[tuple[str, ClientTool]]:
        """Yield the tools by their places; raises UnsupportedParameter for other types, InvalidParameter."""
        raise NotImplementedError

    def refusal(self, place: str) -> Exception:
        """Return the error for a tool of another type, or without what its type needs."""
        if f"`{self.type}`" in self.taken:
            return InvalidParameter(place, f"A tool of type `{self.type}` needs its name and members.")
        return UnsupportedParameter(
            f"{place}.type", f"Tools of type `{self.type}` are not taken here, only {self.taken}."
        )


class NamedCustomTool(CustomFields):
    """A custom tool of Chat Completions."""

    name: ToolName


class CompletionTool(ToolDefinition):
    """A tool of Chat Completions."""

    function: NamedFunction | None = None
    custom: NamedCustomTool | None = None

    def to_tools(self, place: str) -> Iterator[tuple[str, ClientTool]]:
        """See `ToolDefinition`."""
        if self.type == "function" and self.function:
            yield (
                place,
                for_models(self.function.to_client_tool(self.function.name, f"{place}.function"), place),
            )
        elif self.type == "custom" and self.custom:
            yield place, for_models(self.custom.to_custom_tool(self.custom.name, f"{place}.custom"), place)
        else:
            raise self.refusal(place)


class NamedTool(ToolDefinition, FunctionFields, CustomFields):
    """A function or a custom tool of Responses."""

    name: ToolName | None = None

    def to_tools(self, place: str) -> Iterator[tuple[str, ClientTool]]:
        """See `ToolDefinition`."""
        yield place, for_models(self.to_tool(place), place)

    def to_tool(self, place: str) -> ClientTool:
        """Return the tool as it is named here; raises UnsupportedParameter, InvalidParameter."""
        if self.type == "function" and self.name:
            return self.to_client_tool(self.name, place)
        if self.type == "custom" and self.name:
            return self.to_custom_tool(self.name, place)
        raise self.refusal(place)


class ResponseTool(NamedTool):
    """A tool of Responses, or several in a namespace."""

    taken = "`function`, `custom` and `namespace`"

    tools: Parts[NamedTool] | None = None

    def to_tools(self, place: str) -> Iterator[tuple[str, ClientTool]]:
        """See `ToolDefinition`."""
        if self.type != "namespace":
            yield from super().to_tools(place)
            return
        if self.name is None or self.tools is None:
            raise self.refusal(place)
        for index, one in enumerate(self.tools):
            inner = f"{place}.tools[{index}]"
            tool = one.to_tool(inner)
            names = {"namespace": self.name, "namespace_description": self.description}
            tool = tool.model_copy(update=names)
            yield inner, for_models(tool, inner)


def for_models(tool: ClientTool, place: str) -> ClientTool:
    """Return a tool by the name that models call; raises InvalidParameter where that is too long."""
    name = model_name(tool.name, tool.namespace)
    if name == tool.name:
        return tool
    if len(name) > MAX_NAME:
        raise InvalidParameter(f"{place}.name", f"As {name!r} it is longer than {MAX_NAME} characters.")
    return tool.model_copy(update={"name": name, "client_name": tool.name})


def model_name(name: str, namespace: str | None = None) -> str:
    """Return what models call a tool of a client."""
    name = f"{namespace}__{name}" if namespace else name
    return CLIENT + name if name.startswith(HANDOFF) else name


def tools_of(definitions: Collection[ToolDefinition]) -> dict[str, ClientTool]:
    """Return all tools by their places; raises UnsupportedParameter, InvalidParameter."""
    tools = dict(one for index, each in enumerate(definitions) for one in each.to_tools(f"tools[{index}]"))
    if len(tools) > MAX_TOOLS:
        raise InvalidParameter("tools", f"There may be {MAX_TOOLS} tools, with those of namespaces.")
    return tools


class CalledTool(NamedTuple):
    """A call of a client's tool, as its client knows it."""

    name: str
    namespace: str | None
    # Of a custom tool its input.
    arguments: str
    is_custom: bool


def called_tool(run: Run, call: Mapping[str, Any]) -> CalledTool:
    """Return what a run has called, by the tools of its request."""
    name, arguments = call["name"], call["arguments"]
    tools: list[Mapping[str, Any]] = run.options.get("tools", [])
    tool = next((one for one in tools if one["name"] == name), {})
    is_custom = "input_format" in tool
    return CalledTool(
        name=tool.get("client_name", name),
        namespace=tool.get("namespace"),
        arguments=input_of(arguments) if is_custom else arguments,
        is_custom=is_custom,
    )


class NamedChoice(LenientModel):
    """The name of a function or a custom tool."""

    name: Name


class ToolChoice(LenientModel):
    """A tool by its name, as either API writes it."""

    type: Name
    name: Name | None = None
    function: NamedChoice | None = None
    custom: NamedChoice | None = None

    @property
    def chosen(self) -> str:
        """Return what models call the tool; raises UnsupportedParameter for a choice that names none."""
        named = self.function or self.custom
        name = named.name if named else self.name
        if name is None:
            raise UnsupportedParameter("tool_choice", f"Choices of type `{self.type}` are not taken here.")
        return model_name(name)


def check_choice(choice: str, names: Collection[str]) -> str:
    """Return which tool the model has to call; raises InvalidParameter for one that there is not."""
    if choice not in {"auto", "none", "required", *names}:
        raise InvalidParameter("tool_choice", f"There is no tool called {choice!r}.")
    return choice

"""The agents of a run, and their configuration, as its options change them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from agents import Agent, FunctionTool, ModelSettings, RunConfig
from agents.tool_context import ToolContext

from chat_agent.agents.acme_agent import AcmeAgent
from chat_agent.agents.tool import RunContext
from chat_agent.memory.use import MemoryUse
from chat_agent.model.output_schema import RequestedOutput
from chat_agent.runs.options import ClientTool, RunOptions


def with_options(agent: Agent[RunContext], options: RunOptions) -> Agent[RunContext]:
    """Return an agent, and all that it may hand over to, with the options of a run; unchanged without any."""
    if options.output is None and not options.tools:
        return agent
    changes: dict[str, Any] = {}
    if options.output is not None:
        changes["output_type"] = RequestedOutput(options.output)
    tools = [function_tool(one) for one in options.tools]
    # The caller waits for a call of its own tools, and gets it after the outputs of the server's tools.
    if tools and options.tool_choice == "required":
        changes["reset_tool_choice"] = False
    copies: dict[int, Agent[RunContext]] = {}

    def copy(original: Agent[RunContext]) -> Agent[RunContext]:
        if id(original) not in copies:
            clone = original.clone(tools=[*original.tools, *tools], **changes)
            copies[id(original)] = clone
            clone.handoffs = [copy(one) if isinstance(one, Agent) else one for one in original.handoffs]
        return copies[id(original)]

    return copy(agent)


def function_tool(tool: ClientTool) -> FunctionTool:
    """Offer a tool of the caller to the model; the run stops at a call, as if it needed approval."""
    return FunctionTool(
        name=tool.name,
        description=tool.model_description,
        params_json_schema=tool.parameters,
        on_invoke_tool=refuse_call,
        strict_json_schema=tool.is_strict,
        needs_approval=True,
    )


async def refuse_call(_context: ToolContext[Any], _arguments: str) -> str:
    """Fail: the caller executes its tools itself."""
    raise AssertionError("a tool of the caller was called by the server")


@dataclass(frozen=True)
class AgentProfile:
    """What protocols have to know of an agent."""

    name: str
    model: str
    # Of the tools of the agent and of all that it may hand over to.
    tool_names: frozenset[str] = frozenset()


def names_of(agent: Agent[RunContext]) -> frozenset[str]:
    """Return the names of the tools of an agent, and of all that it may hand over to."""
    found: dict[str, Agent[RunContext]] = {}
    open_ = [agent]
    while open_:
        one = open_.pop()
        if one.name not in found:
            found[one.name] = one
            open_ += [other for other in one.handoffs if isinstance(other, Agent)]
    return frozenset(tool.name for one in found.values() for tool in one.tools)


def uses_of(agents: Mapping[str, Agent[RunContext]]) -> dict[str, MemoryUse]:
    """Return what agents may do with memories, by name."""
    return {name: one.memory for name, one in agents.items() if isinstance(one, AcmeAgent)}


def with_settings(config: RunConfig, options: RunOptions) -> RunConfig:
    """Return the configuration of a run whose caller has set options for the models."""
    if options.model_settings is None:
        return config
    settings = config.model_settings or ModelSettings()
    return replace(config, model_settings=settings.resolve(options.model_settings))


def setting_names(settings: ModelSettings | None) -> frozenset[str]:
    """Return the names of the settings that the caller has set."""
    if settings is None:
        return frozenset()
    return frozenset(name for name, value in vars(settings).items() if value is not None)

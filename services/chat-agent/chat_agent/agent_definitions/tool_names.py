"""The names of all tools of one agent: a model tells its tools apart by nothing else."""

from collections.abc import Iterator, Mapping

from chat_agent.agent_definitions.definition import AgentDefinition
from chat_agent.agents.tools.notes import REMEMBER
from chat_agent.event_log.recovery import HANDOFF
from chat_agent.mcp_servers.registered import RegisteredServer

Servers = Mapping[str, RegisteredServer]


def tool_name_problems(definition: AgentDefinition, servers: Servers) -> Iterator[tuple[str, str]]:
    """Yield tools with the name of another tool of the agent."""
    seen = reserved_names(definition)
    for path, name in tool_names(definition, servers):
        if name in seen:
            yield path, f"There is more than one tool called {name!r}."
        seen.add(name)


def reserved_names(definition: AgentDefinition) -> set[str]:
    """Return the names of the tools that the other members of a definition make."""
    names = {f"ask_{name}" for name in definition.as_tools}
    names |= {f"{HANDOFF}{name}" for name in definition.handoffs}
    return names | {REMEMBER.name} if definition.memory.write else names


def tool_names(definition: AgentDefinition, servers: Servers) -> Iterator[tuple[str, str]]:
    """Yield the names by which models call the tools that a definition lists, each with its path."""
    for index, use in enumerate(definition.tools):
        yield f"tools[{index}].name", use.name
    places = {use.server: index for index, use in reversed([*enumerate(definition.mcp)])}
    for name, index in places.items():
        if (server := servers.get(name)) is not None:
            allowed = definition.mcp[index].allow
            for tool in server.offered.values():
                if allowed is None or tool.name in allowed:
                    yield f"mcp[{index}]", tool.callable_name(name)

"""Which tools give only what nobody else has written."""

from collections.abc import Iterable, Mapping
from typing import Any

from agents import Agent, Tool

from chat_agent.event_log.recovery import HANDOFF


def reached_from(agent: Agent[Any]) -> list[Agent[Any]]:
    """Return an agent and all that it may hand over to."""
    reached = [agent]
    for one in reached:
        reached += [other for other in one.handoffs if isinstance(other, Agent) and other not in reached]
    return reached


def with_neighbours(agents: Iterable[Agent[Any]]) -> list[Agent[Any]]:
    """Return agents, and all that they may hand over to or call as tools, at any depth."""
    reached = [*agents]
    for one in reached:
        calls = [getattr(getattr(tool, "on_invoke_tool", None), "agent", None) for tool in one.tools]
        reached += [
            other for other in (*one.handoffs, *calls) if isinstance(other, Agent) and other not in reached
        ]
    return reached


def is_untrusted(tool: Tool) -> bool:
    """Return whether others may have written what a tool gives."""
    return not getattr(getattr(tool, "on_invoke_tool", None), "is_trusted", False)


def trusted_names(agents: Mapping[str, Agent[Any]]) -> frozenset[str]:
    """Return the names of trusted tools of agents, and of their handoffs."""
    tools = [tool for agent in agents.values() for tool in agent.tools]
    handoffs = {f"{HANDOFF}{name}" for name in agents}
    untrusted = {tool.name for tool in tools if is_untrusted(tool)}
    return frozenset(handoffs | {tool.name for tool in tools}) - untrusted

"""Agents and tools of packages of one's own, which are found by their entry points."""

from importlib.metadata import EntryPoint, entry_points

from agents import Agent, FunctionTool

from chat_agent.agents import AGENTS
from chat_agent.agents.tools import TOOLS


class PackageInvalid(Exception):
    """A package offers something else than an agent or tools, or takes a name that is in use."""

    def __init__(self, entry: EntryPoint, problem: str) -> None:
        super().__init__(f"{entry.group}: {entry.name} = {entry.value}: {problem}")


def load_packages() -> None:
    """Add the agents and tools of installed packages to the tables; raises PackageInvalid."""
    for entry in entry_points(group="acme.agents"):
        add_agent(entry)
    for entry in entry_points(group="acme.tools"):
        add_tools(entry)


def add_agent(entry: EntryPoint) -> None:
    """Add an agent to the table."""
    agent = entry.load()
    if not isinstance(agent, Agent):
        raise PackageInvalid(entry, "this is no Agent")
    if AGENTS.setdefault(agent.name, agent) is not agent:
        raise PackageInvalid(entry, f"there is another agent called {agent.name!r}")


def add_tools(entry: EntryPoint) -> None:
    """Add a list of tools to the table, as a category of the entry point's name."""
    tools = entry.load()
    if not isinstance(tools, list) or not all(isinstance(tool, FunctionTool) for tool in tools):
        raise PackageInvalid(entry, "this is no list of tools")
    others = {tool.name for category, those in TOOLS.items() if category != entry.name for tool in those}
    if taken := others & {tool.name for tool in tools}:
        raise PackageInvalid(entry, f"there are other tools called {', '.join(sorted(taken))}")
    if TOOLS.setdefault(entry.name, tools) is not tools:
        raise PackageInvalid(entry, f"there is another category called {entry.name!r}")

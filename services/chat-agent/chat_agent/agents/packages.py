"""Agents and tools of packages of one's own, which are found by their entry points."""

from collections import Counter
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import get_args, get_origin

from agents import Agent, FunctionTool, Tool

from chat_agent.agents import AGENTS
from chat_agent.agents.tool import GuardedTool
from chat_agent.agents.tools import TOOLS

# What a provider executes.
HOSTED = tuple(get_origin(kind) or kind for kind in get_args(Tool))


class PackageInvalid(Exception):
    """A package cannot be imported, offers something else than an agent or tools, or takes a name in use."""

    def __init__(self, entry: EntryPoint, problem: str) -> None:
        package = f" ({entry.dist.name} {entry.dist.version})" if entry.dist else ""
        super().__init__(f"{entry.group}: {entry.name} = {entry.value}{package}: {problem}")


def load_packages() -> None:
    """Add the agents and tools of installed packages to the tables; raises PackageInvalid."""
    for entry in entry_points(group="acme.agents"):
        add_agent(entry)
    for entry in entry_points(group="acme.tools"):
        add_tools(entry)


def add_agent(entry: EntryPoint) -> None:
    """Add an agent to the table."""
    agent = load(entry)
    if not isinstance(agent, Agent):
        raise PackageInvalid(entry, f"this is no Agent, but {type_of(agent)}")
    require_tools(entry, agent.tools)
    if AGENTS.setdefault(agent.name, agent) is not agent:
        raise PackageInvalid(entry, f"there is another agent called {agent.name!r}")


def add_tools(entry: EntryPoint) -> None:
    """Add a list of tools to the table, as a category of the entry point's name."""
    tools = load(entry)
    if not isinstance(tools, list):
        raise PackageInvalid(entry, f"this is no list of tools, but {type_of(tools)}")
    require_tools(entry, tools)
    if not all(isinstance(tool, FunctionTool) for tool in tools):
        raise PackageInvalid(entry, "a tool of the provider belongs to an agent, not into a list")
    others = {tool.name for category, those in TOOLS.items() if category != entry.name for tool in those}
    if taken := others & {tool.name for tool in tools}:
        raise PackageInvalid(entry, f"there are other tools called {', '.join(sorted(taken))}")
    if TOOLS.setdefault(entry.name, tools) is not tools:
        raise PackageInvalid(entry, f"there is another category called {entry.name!r}")


def load(entry: EntryPoint) -> object:
    """Import what an entry point names; raises PackageInvalid, with the error's first line."""
    try:
        loaded: object = entry.load()
    except (Exception, SystemExit) as error:  # whatever the code of others raises
        line = (str(error).splitlines() or [""])[0]
        raise PackageInvalid(entry, f"importing it raised {type(error).__name__}: {line}") from error
    return loaded


def require_tools(entry: EntryPoint, tools: Iterable[Tool]) -> None:
    """Raise PackageInvalid unless all can be used, and have different names."""
    if unusable := [tool for tool in tools if not is_usable(tool)]:
        name = getattr(unusable[0], "name", None) or getattr(unusable[0], "__name__", repr(unusable[0]))
        raise PackageInvalid(entry, f"{name} is no tool of Acme's: decorate its function with @tool()")
    twice = [name for name, count in Counter(tool.name for tool in tools).items() if count > 1]
    if twice:
        raise PackageInvalid(entry, f"it has several tools called {', '.join(twice)}")


def is_usable(tool: Tool) -> bool:
    """Return whether a tool is the provider's to execute, or its calls are limited and recorded."""
    if isinstance(tool, FunctionTool):
        return isinstance(tool.on_invoke_tool, GuardedTool)
    return isinstance(tool, HOSTED)


def type_of(value: object) -> str:
    """Return what a value is, for a sentence."""
    return f"a value of the type {type(value).__name__}"

"""A package that cannot be used is refused at the start, in one line that says what is wrong with it."""

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from agents import Agent
from chat_agent.agent_definitions.selection import digest_in_code
from chat_agent.agents import AGENTS, packages
from chat_agent.agents.packages import PackageInvalid, add_agent, add_tools
from chat_agent.agents.tool import RunContext
from chat_agent.agents.tools import TOOLS

Write = Callable[[str], str]

IMPORTS = '''
import sys
from agents import Agent, WebSearchTool, function_tool
from chat_agent.agents.tool import tool


@tool()
async def shelves() -> str:
    """Count."""
    return "7"


@function_tool
async def unlimited() -> str:
    """Count."""
    return "7"
'''


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a module with a line of code, and return the value of an entry point."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(packages, "AGENTS", {**AGENTS})
    monkeypatch.setattr(packages, "TOOLS", {**TOOLS})

    def write(line: str) -> str:
        name = "package_" + "".join(filter(str.isalnum, str(tmp_path)))
        (tmp_path / f"{name}.py").write_text(f"{IMPORTS}\n\n{line}\n")
        return f"{name}:value"

    return write


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("import chat_agent.older", "importing it raised ModuleNotFoundError: No module named"),
        (
            "from chat_agent.agents.tool import old",
            "importing it raised ImportError: cannot import name 'old'",
        ),
        ("other = 1", "importing it raised AttributeError: module "),
        ("value = Agent(nom='x')", "importing it raised TypeError: "),
        ("value == ", "importing it raised SyntaxError: invalid syntax"),
        ("sys.exit(4)", "importing it raised SystemExit: 4"),
        ("raise OSError('one\\ntwo')", "importing it raised OSError: one"),
        ("value = {}", "this is no Agent, but a value of the type dict"),
        ("value = Agent(name='triage')", "there is another agent called 'triage'"),
        ("value = Agent(name='x', tools=[shelves, shelves])", "it has several tools called shelves"),
        ("value = Agent(name='x', tools=[print])", "print is no tool of Acme's"),
        ("value = Agent(name='x', tools=[unlimited])", "unlimited is no tool of Acme's"),
    ],
)
def test_an_agent_that_cannot_be_used(write: Write, line: str, problem: str) -> None:
    entry = EntryPoint("shop", write(line), "acme.agents")
    with pytest.raises(PackageInvalid) as refused:
        add_agent(entry)
    message = str(refused.value)
    assert message.startswith(f"acme.agents: shop = {entry.value}: {problem}")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("value = shelves", "this is no list of tools, but a value of the type FunctionTool"),
        ("value = [shelves, shelves]", "it has several tools called shelves"),
        ("value = [unlimited]", "unlimited is no tool of Acme's"),
        ("value = [WebSearchTool()]", "a tool of the provider belongs to an agent, not into a list"),
        (
            "from chat_agent.agents.tools.clock import current_time\nvalue = [current_time]",
            "there are other tools called current_time",
        ),
    ],
)
def test_tools_that_cannot_be_used(write: Write, line: str, problem: str) -> None:
    entry = EntryPoint("shop", write(line), "acme.tools")
    with pytest.raises(PackageInvalid, match=problem):
        add_tools(entry)


def test_an_agent_may_have_tools_that_its_provider_executes(write: Write) -> None:
    value = write("value = Agent(name='x', tools=[shelves, WebSearchTool()])")
    add_agent(EntryPoint("shop", value, "acme.agents"))
    assert "x" in packages.AGENTS


class Greeting:
    """Instructions that are no function."""

    def __call__(self, _context: object, _agent: object) -> str:
        """Return what the agent is told."""
        return "You greet."


def greet(_context: object, _agent: object) -> str:
    return "You greet."


def bow(_context: object, _agent: object) -> str:
    return "You bow."


def test_the_version_of_an_agent_whose_instructions_are_a_function_is_the_same_in_all_processes() -> None:
    def digest(instructions: Callable[..., str]) -> str:
        return digest_in_code(Agent[RunContext](name="x", instructions=instructions))

    # Another process has an object at another address.
    assert digest(Greeting()) == digest(Greeting())
    assert len({digest(greet), digest(bow), digest(Greeting())}) == 3

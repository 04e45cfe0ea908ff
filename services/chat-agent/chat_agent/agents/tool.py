"""How a function becomes a tool: bounded in time and output, and called once where that matters."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agents import FunctionTool, function_tool
from agents.tool_context import ToolContext

from chat_agent.clients.conversation import Conversations
from chat_agent.model.failure_log import tool_failed, tool_timed_out
from chat_agent.runs.tool_calls import Journal

TOOL_SECONDS = 15.0
# What a model can make use of, and a conversation can keep; in characters.
LONGEST_OUTPUT = 50_000


@dataclass(frozen=True)
class RunContext:
    """For whom a run works; tools reach what is theirs through it. The model never sees it."""

    conversations: Conversations
    journal: Journal


def tool(
    *, needs_approval: bool = False, idempotent: bool = True, seconds: float = TOOL_SECONDS
) -> Callable[[Callable[..., Any]], FunctionTool]:
    """Make a tool of a function.

    `needs_approval`: a person is asked before each call. `idempotent=False`: a call is never made a second
    time, whatever happens to the process that makes it.
    """

    def make(function: Callable[..., Any]) -> FunctionTool:
        made = function_tool(
            function,
            timeout=seconds,
            needs_approval=needs_approval,
            failure_error_function=tool_failed,
            timeout_error_function=tool_timed_out,
        )
        return dataclasses.replace(made, on_invoke_tool=Bounded(made, idempotent))

    return make


@dataclass(frozen=True)
class Bounded:
    """Calls a tool."""

    tool: FunctionTool
    is_idempotent: bool

    async def __call__(self, context: ToolContext[RunContext], arguments: str) -> str:
        """Make the call; raises ToolOutcomeUnknown when it was begun before and nobody knows how it ended."""

        async def make() -> str:
            return storable(str(await self.tool.on_invoke_tool(context, arguments)))

        if self.is_idempotent:
            return await make()
        return await context.context.journal.once(context.tool_call_id, self.tool.name, arguments, make)


def storable(output: str) -> str:
    """Cut what is too long, and replace what cannot be stored: NUL, and halves of surrogate pairs."""
    cut = output[:LONGEST_OUTPUT].replace("\x00", "\N{REPLACEMENT CHARACTER}")
    kept = cut.encode(errors="replace").decode()
    more = len(output) - LONGEST_OUTPUT
    return f"{kept} [cut: {more} more characters]" if more > 0 else kept

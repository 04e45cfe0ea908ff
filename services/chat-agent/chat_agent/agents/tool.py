"""How a function becomes a tool: bounded in time and output, and called once where that matters."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agents import FunctionTool, function_tool
from agents.tool_context import ToolContext

from chat_agent.attachments.model_input import AttachmentReader
from chat_agent.clients.conversation import ConversationClient
from chat_agent.model.failure_log import tool_failed, tool_timed_out
from chat_agent.runs.tool_calls import ToolCallJournal

TIMEOUT_SECONDS = 15.0
# What a model can make use of, and a conversation can keep; in characters.
MAX_OUTPUT = 50_000


@dataclass(frozen=True)
class RunContext:
    """For whom a run works; tools reach what is theirs through it. The model never sees it."""

    conversations: ConversationClient
    journal: ToolCallJournal
    attachments: AttachmentReader


def tool(
    *, needs_approval: bool = False, idempotent: bool = True, seconds: float = TIMEOUT_SECONDS
) -> Callable[[Callable[..., Any]], FunctionTool]:
    """Build a tool of a function.

    `needs_approval`: a person is asked before each call. `idempotent=False`: a call is never made a second
    time, whatever happens to the process that makes it.
    """

    def decorate(function: Callable[..., Any]) -> FunctionTool:
        guarded = function_tool(
            function,
            timeout=seconds,
            needs_approval=needs_approval,
            failure_error_function=tool_failed,
            timeout_error_function=tool_timed_out,
        )
        return dataclasses.replace(guarded, on_invoke_tool=GuardedTool(guarded, idempotent))

    return decorate


@dataclass(frozen=True)
class GuardedTool:
    """Calls a tool."""

    tool: FunctionTool
    is_idempotent: bool

    async def __call__(self, context: ToolContext[RunContext], arguments: str) -> str:
        """Call the tool; raises ToolOutcomeUnknown when an earlier call has no recorded outcome."""

        async def make() -> str:
            return limited_output(str(await self.tool.on_invoke_tool(context, arguments)))

        if self.is_idempotent:
            return await make()
        return await context.context.journal.call_once(context.tool_call_id, self.tool.name, arguments, make)


def limited_output(output: str) -> str:
    """Truncate output that is too long, and replace NUL and unpaired surrogates."""
    cut = output[:MAX_OUTPUT].replace("\x00", "\N{REPLACEMENT CHARACTER}")
    text = cut.encode(errors="replace").decode()
    more = len(output) - MAX_OUTPUT
    return f"{text} [cut: {more} more characters]" if more > 0 else text

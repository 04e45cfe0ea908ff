"""Approvals that an agent needs while it answers as a tool of another."""

from typing import Any

from agents.agent_tool_state import get_agent_tool_state_scope, peek_agent_tool_run_result
from agents.tool_context import ToolContext

from chat_agent.runs.call import Call
from chat_agent.runs.nested_calls import NestedCalls


def wait_for_approvals(context: ToolContext[Any]) -> bool:
    """Return whether calls within a call of an agent wait for a person; publish that they are called."""
    if context.tool_call is None:
        return False
    result = peek_agent_tool_run_result(context.tool_call, scope_id=get_agent_tool_state_scope(context))
    nested: NestedCalls = context.context.journal.nested
    waiting = result.interruptions if result else []
    for item in waiting:
        call = Call(
            item.call_id or "",
            item.agent.name,
            item.name or "",
            item.arguments or "{}",
            parent_call_id=context.tool_call_id,
        )
        nested.wait(call)
    return bool(waiting)

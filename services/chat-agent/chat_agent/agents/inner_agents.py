"""What an agent does while it answers as a tool of another: its span, and approvals that it needs."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from agents import Agent
from agents.agent_tool_state import get_agent_tool_state_scope, peek_agent_tool_run_result
from agents.tool_context import ToolContext
from opentelemetry import trace

from chat_agent.runs.call import Call
from chat_agent.runs.nested_calls import NestedCalls

tracer = trace.get_tracer(__name__)


def invocation_span(agent: Agent[Any] | None) -> AbstractContextManager[None]:
    """Return the span of an agent that is called; nothing for other tools."""
    return nullcontext() if agent is None else span_of(agent.name)


@contextmanager
def span_of(agent: str) -> Iterator[None]:
    """Trace an agent; the text of an error may hold what nobody may read, so that it has none."""
    attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": agent}
    with tracer.start_as_current_span(
        f"invoke_agent {agent}",
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Exception as error:
            span.set_status(trace.StatusCode.ERROR)
            span.set_attribute("error.type", type(error).__name__)
            raise


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

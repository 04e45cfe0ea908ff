"""Calls of agents that were lost before they answered: what was done within them must not be done again."""

from collections.abc import Mapping, Sequence

from chat_agent.event_log.translator import redact
from chat_agent.models import ToolCall

DONE = "The agent was lost before it answered. What it has done already must not be repeated:"


def outermost_calls(calls: Sequence[ToolCall], all_calls: Mapping[str, ToolCall]) -> list[ToolCall]:
    """Return calls that must not be made again; in place of nested ones, those of the run's own agent."""
    nested: dict[str, list[ToolCall]] = {}
    for call in calls:
        nested.setdefault(outermost(call, all_calls).call_id, []).append(call)
    return [
        made[0] if made[0].call_id == call_id else lost_agent(all_calls[call_id], made)
        for call_id, made in nested.items()
    ]


def outermost(call: ToolCall, all_calls: Mapping[str, ToolCall]) -> ToolCall:
    """Return the call that the run's own agent made, within which a call was made."""
    while call.parent_call_id is not None:
        call = all_calls[call.parent_call_id]
    return call


def lost_agent(call: ToolCall, made: Sequence[ToolCall]) -> ToolCall:
    """Return the call of an agent; its output is what was done within it, none where that is not known."""
    done = [
        f"{one.name}({redact(one.arguments)}): {redact(one.output)}" for one in made if one.output is not None
    ]
    output = "\n".join([DONE, *done]) if len(done) == len(made) else None
    return ToolCall(call_id=call.call_id, name=call.name, arguments=call.arguments, output=output)

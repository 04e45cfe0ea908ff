"""Calls that agents make while they answer as tools of others: events of the run, and no items of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from chat_agent.event_log.buffer import EventBuffer
from chat_agent.event_log.store import EventType
from chat_agent.event_log.translator import redact
from chat_agent.runs.call import Call

# The id of the call within which the current task works, and all that it starts; none in the run's own agent.
OUTER_CALL: ContextVar[str | None] = ContextVar("OUTER_CALL", default=None)


@contextmanager
def within_call(call_id: str) -> Iterator[None]:
    """Make calls of this block nested ones."""
    token = OUTER_CALL.set(call_id)
    try:
        yield
    finally:
        OUTER_CALL.reset(token)


@dataclass(frozen=True)
class NestedCalls:
    """Publishes the nested calls of one run; each event of a call once, whichever attempt makes it."""

    log: EventBuffer
    # The events that the log has, by their type and the id of the call.
    logged: set[tuple[str, str]] = field(default_factory=set)
    # The outer calls of those that wait for a person.
    parents: dict[str, str] = field(default_factory=dict)

    def called(self, call: Call) -> None:
        """Publish that a call is made, if it is a nested one."""
        self._append(EventType.TOOL_CALLED, call, arguments=redact(call.arguments))

    def wait(self, call: Call) -> None:
        """Publish a call for which a person is asked; the innermost agent says first whose it is."""
        if self.parents.setdefault(call.call_id, call.parent_call_id or "") == call.parent_call_id:
            self.called(call)

    def returned(self, call: Call, output: str, *, failed: bool = False) -> None:
        """Publish what a call returned, if it is a nested one."""
        failure = {"failed": True} if failed else {}
        self._append(EventType.TOOL_OUTPUT, call, output=redact(output), **failure)

    def _append(self, type: EventType, call: Call, **fields: Any) -> None:
        if call.parent_call_id is None or (type, call.call_id) in self.logged:
            return
        self.logged.add((type, call.call_id))
        ids = {"agent": call.agent, "parent_call_id": call.parent_call_id}
        self.log.append(type, call_id=call.call_id, name=call.name, **fields, **ids)

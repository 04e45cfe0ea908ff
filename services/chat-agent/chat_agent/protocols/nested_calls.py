"""What agents call that are tools themselves, for protocols that have no such calls."""

from collections.abc import Iterable
from typing import Any

from chat_agent.protocols.encoder import Payload, fields_of


class NestedCalls:
    """The nested calls of a run so far, each with its `status`, oldest first."""

    def __init__(self) -> None:
        self.calls: dict[str, dict[str, Any]] = {}

    def add(self, payload: Payload) -> dict[str, Any]:
        """Add a call, or what it returned; return the call."""
        is_open = payload["type"] == "tool.called"
        status = "running" if is_open else "failed" if payload.get("failed") else "completed"
        call = {**self.calls.get(payload["call_id"], {}), **fields_of(payload), "status": status}
        call.pop("failed", None)
        self.calls[payload["call_id"]] = call
        return call

    def withdraw(self, outer: Iterable[str]) -> list[dict[str, Any]]:
        """Remove the calls that were made within others; return them."""
        ids = {*outer}
        for call_id, call in self.calls.items():
            if call["parent_call_id"] in ids:
                ids.add(call_id)
        return [{**self.calls.pop(one), "status": "withdrawn"} for one in [*self.calls] if one in ids]

    def outermost(self, call_id: str) -> str:
        """Return the call of the run's own agent within which a call was made."""
        while call_id in self.calls:
            call_id = self.calls[call_id]["parent_call_id"]
        return call_id

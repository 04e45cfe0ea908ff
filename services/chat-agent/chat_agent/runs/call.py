"""A call of a tool, and what came of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Call:
    """A call that is about to be made."""

    call_id: str
    agent: str
    name: str
    arguments: str
    is_idempotent: bool = True
    # The call within which it is made, by an agent that is a tool.
    parent_call_id: str | None = None


@dataclass(frozen=True)
class CallResult:
    """What came of a call: its output, which is a message about the failure where it failed."""

    output: str
    # `waiting`: it is made again when a person has decided on calls within it.
    status: str = "completed"
    error: str | None = None

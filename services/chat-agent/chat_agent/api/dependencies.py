"""The dependencies of routes: the caller with a permission, headers, and the run manager."""

from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request
from servicekit.auth.dependencies import require
from servicekit.auth.tokens import Principal
from servicekit.idempotency import WELL_FORMED, InvalidIdempotencyKey

from chat_agent.errors import InvalidEventId
from chat_agent.execution.manager import RunManager

MANAGE = "agents:manage"
Writer = Annotated[Principal, require("conversations:write")]
Reader = Annotated[Principal, require("conversations:read")]
Author = Annotated[Principal, require(MANAGE)]
ToolReader = Annotated[Principal, require("tools:read")]
AgentName = Annotated[str, Path(pattern="^[a-z_][a-z0-9_]{0,63}$")]


def get_manager(request: Request) -> RunManager:
    """Return the manager of the app that answers."""
    manager: RunManager = request.app.state.manager
    return manager


def get_idempotency_key(idempotency_key: Annotated[str | None, Header()] = None) -> str | None:
    """Return the request's Idempotency-Key; raises InvalidIdempotencyKey."""
    if idempotency_key is not None and not WELL_FORMED.fullmatch(idempotency_key):
        raise InvalidIdempotencyKey
    return idempotency_key


def get_resume_position(
    last_event_id: Annotated[
        str | None, Header(description="The id of the last event that was read.")
    ] = None,
    after: Annotated[str | None, Query(description="The same, for clients that cannot set headers.")] = None,
) -> int:
    """Return the number of the event to go on after; raises InvalidEventId."""
    value = last_event_id or after or "0"
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise InvalidEventId
    return int(value)


ResumeAfter = Annotated[int, Depends(get_resume_position)]
ManagerDep = Annotated[RunManager, Depends(get_manager)]
IdempotencyKey = Annotated[str | None, Depends(get_idempotency_key)]

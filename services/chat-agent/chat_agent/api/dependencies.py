"""What routes depend on: who asks, with which right, and which part of the service answers."""

from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request
from servicekit.auth.dependencies import require
from servicekit.auth.tokens import Principal
from servicekit.idempotency import WELL_FORMED, InvalidIdempotencyKey

from chat_agent.errors import BadEventId
from chat_agent.execution.manager import Engine

Writer = Annotated[Principal, require("conversations:write")]
Reader = Annotated[Principal, require("conversations:read")]
ToolReader = Annotated[Principal, require("tools:read")]
AgentName = Annotated[str, Path(pattern="^[a-z_]{1,64}$")]


def engine_of(request: Request) -> Engine:
    """Give the engine of the app that answers."""
    engine: Engine = request.app.state.engine
    return engine


def key_of(idempotency_key: Annotated[str | None, Header()] = None) -> str | None:
    """Give the request's Idempotency-Key; raises BadIdempotencyKey."""
    if idempotency_key is not None and not WELL_FORMED.fullmatch(idempotency_key):
        raise InvalidIdempotencyKey
    return idempotency_key


def after_of(
    last_event_id: Annotated[
        str | None, Header(description="The id of the last event that was read.")
    ] = None,
    after: Annotated[str | None, Query(description="The same, for clients that cannot set headers.")] = None,
) -> int:
    """Give the number of the event to go on after; raises BadEventId."""
    given = last_event_id or after or "0"
    if not (given.isascii() and given.isdigit() and len(given) <= 9):
        raise BadEventId
    return int(given)


ResumeAfter = Annotated[int, Depends(after_of)]
Runs = Annotated[Engine, Depends(engine_of)]
IdempotencyKey = Annotated[str | None, Depends(key_of)]

"""From a started run to its response in any protocol: as a stream, or whole."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from fastapi.responses import StreamingResponse
from servicekit.auth.tokens import Principal
from servicekit.rate_limits import Grant

from chat_agent.api.disconnects import DisconnectHandler
from chat_agent.api.rate_limits import RateLimiter
from chat_agent.api.sse import EventStream
from chat_agent.api.start_run import StartedRun
from chat_agent.errors import ApprovalNotFound
from chat_agent.event_log.store import EventType, RunEvent
from chat_agent.execution import subscribe
from chat_agent.execution.manager import RunManager
from chat_agent.model import failures
from chat_agent.models import Run
from chat_agent.protocols.encoder import ProtocolEncoder, feed, stream
from chat_agent.runs import store

EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
}
NO_HEADERS: Mapping[str, str] = {}
Responses = dict[int | str, dict[str, Any]]


def stream_response_doc(description: str) -> dict[str, Any]:
    """Describe a stream, for the service's document."""
    return {"description": description, "content": {"text/event-stream": {"schema": EVENT}}}


async def find_waiting(manager: RunManager, caller: Principal, conversation_id: UUID) -> Run:
    """Return the run that waits for approvals in a conversation; raises ApprovalNotFound."""
    async with manager.database.begin() as session:
        run = await store.find_unfinished(session, caller, conversation_id)
    if run is None:
        raise ApprovalNotFound
    return run


def streaming_response(  # noqa: PLR0913, PLR0917  # what is streamed, to whom, and how
    manager: RunManager,
    caller: Principal,
    started: StartedRun,
    grant: Grant,
    encoder: ProtocolEncoder,
    headers: Mapping[str, str] = NO_HEADERS,
    *,
    on_disconnect: DisconnectHandler | None,
) -> StreamingResponse:
    """Respond with the stream of a run."""
    frames = stream(manager, started.run.id, encoder, caller, started.last_event_id)
    all_headers = {**grant.headers(), **started.headers(), **headers}
    return EventStream(frames, grant.lease, all_headers, on_disconnect)


async def replay_response(
    manager: RunManager,
    limiter: RateLimiter,
    run_id: UUID,
    encoder: ProtocolEncoder,
    headers: Mapping[str, str] = NO_HEADERS,
) -> StreamingResponse:
    """Stream a run again, from its beginning."""
    async with limiter.admit("replay") as grant:
        frames = stream(manager, run_id, encoder, limiter.caller)
    return EventStream(frames, grant.lease, {**grant.headers(), **headers})


async def complete(manager: RunManager, run_id: UUID, encoder: ProtocolEncoder) -> None:
    """Feed an encoder with all of a run; raises the error by which it failed."""
    events = await subscribe.wait_for_end(manager, run_id)
    feed(encoder, events)
    raise_failure(events[-1])


def raise_failure(final: RunEvent) -> None:
    """Raise the error by which a run failed, if it did."""
    if final.type == EventType.RUN_FAILED:
        raise failures.from_payload(final.json())

"""From a turn that was let in to its answer, in any encoder: as a stream, or whole."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from fastapi.responses import StreamingResponse

from chat_agent.api.rate_limits import Admitted, ChatLimiter, StreamLimiter
from chat_agent.api.sse import event_stream
from chat_agent.errors import ApprovalNotFound
from chat_agent.event_log.store import EventType, RunEvent
from chat_agent.execution import subscribe
from chat_agent.execution.manager import RunManager
from chat_agent.model import failures
from chat_agent.protocols.encoder import ProtocolEncoder, feed, stream
from chat_agent.runs import store
from chat_agent.schemas import Answer

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


async def resume_with_approvals(
    limiter: ChatLimiter, conversation_id: UUID, decisions: Mapping[UUID, Answer]
) -> Admitted:
    """Let the run go on that waits in a conversation; raises ApprovalNotFound when none does."""
    async with limiter.manager.database.begin() as session:
        run = await store.find_unfinished(session, limiter.caller, conversation_id)
    if run is None:
        raise ApprovalNotFound
    return await limiter.answer_approvals(run.id, decisions, streamed=True)


def streaming_response(
    manager: RunManager, admitted: Admitted, encoder: ProtocolEncoder, headers: Mapping[str, str] = NO_HEADERS
) -> StreamingResponse:
    """Answer with a stream; a client that goes away does not stop the run."""
    turn = admitted.turn
    frames = stream(manager, turn.run.id, encoder, admitted.is_authorized, turn.last_event_id)
    return event_stream(frames, admitted.lease, {**admitted.headers, **headers})


async def replay_response(
    limiter: StreamLimiter, run_id: UUID, encoder: ProtocolEncoder, headers: Mapping[str, str] = NO_HEADERS
) -> StreamingResponse:
    """Stream a run that was asked for before, from its beginning."""
    admission = await limiter.admit()
    frames = stream(limiter.manager, run_id, encoder, limiter.is_authorized)
    return event_stream(frames, admission.lease, {**admission.headers(), **headers})


async def complete(manager: RunManager, run_id: UUID, encoder: ProtocolEncoder) -> None:
    """Let a encoder hear all of a run; raises the error by which it failed."""
    events = await subscribe.wait_for_end(manager, run_id)
    feed(encoder, events)
    raise_failure(events[-1])


def raise_failure(final: RunEvent) -> None:
    """Raise the error by which a run failed, if it did."""
    if final.type == EventType.RUN_FAILED:
        payload = final.json()
        raise failures.from_code(str(payload.get("code")), str(payload.get("detail") or ""))

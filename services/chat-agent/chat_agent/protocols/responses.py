"""From a turn that was let in to its answer, in any voice: as a stream, or whole."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from fastapi.responses import StreamingResponse

from chat_agent.api.rate_limits import Admitted, Desk, Ear
from chat_agent.api.sse import event_stream
from chat_agent.errors import UnknownApproval
from chat_agent.event_log.store import RunEvent
from chat_agent.execution import subscribe
from chat_agent.execution.manager import Engine
from chat_agent.model import failures
from chat_agent.protocols.encoder import Voice, hear, speak
from chat_agent.runs import store
from chat_agent.schemas import Answer

EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
}
NO_HEADERS: Mapping[str, str] = {}
Responses = dict[int | str, dict[str, Any]]


def streams(description: str) -> dict[str, Any]:
    """Describe a stream, for the service's document."""
    return {"description": description, "content": {"text/event-stream": {"schema": EVENT}}}


async def allowed(desk: Desk, conversation_id: UUID, given: Mapping[UUID, Answer]) -> Admitted:
    """Let the run go on that waits in a conversation; raises UnknownApproval when none does."""
    async with desk.engine.database.begin() as session:
        run = await store.live_in(session, desk.caller, conversation_id)
    if run is None:
        raise UnknownApproval
    return await desk.allow(run.id, given, streamed=True)


def streamed(
    engine: Engine, admitted: Admitted, voice: Voice, headers: Mapping[str, str] = NO_HEADERS
) -> StreamingResponse:
    """Answer with a stream; a client that goes away does not stop the run."""
    turn = admitted.turn
    frames = speak(engine, turn.run.id, voice, admitted.may_hear, turn.heard)
    return event_stream(frames, admitted.lease, {**admitted.headers, **headers})


async def again(
    ear: Ear, run_id: UUID, voice: Voice, headers: Mapping[str, str] = NO_HEADERS
) -> StreamingResponse:
    """Stream a run that was asked for before, from its beginning."""
    admission = await ear.listen()
    frames = speak(ear.engine, run_id, voice, ear.may_hear)
    return event_stream(frames, admission.lease, {**admission.headers(), **headers})


async def whole(engine: Engine, run_id: UUID, voice: Voice) -> None:
    """Let a voice hear all of a run; raises the error by which it failed."""
    events = await subscribe.to_the_end(engine, run_id)
    hear(voice, events)
    raise_for(events[-1])


def raise_for(ended: RunEvent) -> None:
    """Raise the error by which a run failed, if it did."""
    if ended.type == "run.failed":
        told = ended.json()
        raise failures.named(str(told.get("code")), str(told.get("detail") or ""))

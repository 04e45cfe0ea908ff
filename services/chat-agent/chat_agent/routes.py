"""What the chat-agent answers."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, nullcontext
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Response
from fastapi.responses import StreamingResponse
from servicekit.app import CurrentKit
from servicekit.auth import allowed
from servicekit.database import Session
from servicekit.idempotency import REPLAYED
from servicekit.limits import Lease, Rate, Slots
from servicekit.tokens import Principal

from chat_agent import chat, models, runs, schemas
from chat_agent.agents import AGENTS
from chat_agent.chat import IdempotencyKey, ResumeAfter, Runs, Turn, limit_key
from chat_agent.errors import BadEventId, RunLogExpired, UnknownAgent
from chat_agent.run_log import Source, frames, terminal
from chat_agent.tools import TOOLS

Writer = Annotated[Principal, allowed("conversations:write")]
Reader = Annotated[Principal, allowed("conversations:read")]
AgentName = Annotated[str, Path(pattern="^[a-z_]{1,64}$")]
ToolReader = Annotated[Principal, allowed("tools:read")]

EVENT = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^[1-9][0-9]*$", "description": "1, 2, 3 ... without holes."},
        "event": {"type": "string", "examples": ["run.started", "message.delta", "run.completed"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The run's events; `GET /api/v1/runs/{run_id}/events` with `Last-Event-ID` resumes.",
        "content": {"text/event-stream": {"schema": EVENT}},
    }
}
RESUMED: dict[int | str, dict[str, Any]] = {
    **STREAM,
    204: {"description": "The run is over, and all of it was heard."},
}

router = APIRouter(prefix="/api/v1")


@router.post("/chat", response_model=schemas.ChatAnswer, tags=["chat"])
@router.post("/agents/chat", response_model=schemas.ChatAnswer, tags=["chat"], operation_id="chat_with_agent")
async def answer_whole(  # noqa: PLR0913, PLR0917  # what a request brings along, each part typed
    asked: schemas.ChatRequest,
    caller: Writer,
    engine: Runs,
    kit: CurrentKit,
    key: IdempotencyKey,
    response: Response,
) -> schemas.ChatAnswer:
    """Say something to an agent, and get the whole answer."""
    per_minute = engine.settings.chat_rate_limit_per_minute
    quota = await kit.limits.take(limit_key(caller, "chat"), limit=per_minute)
    turn = await chat.begin(engine, kit.database, caller, asked, key)
    response.headers.update({**quota.headers(), **replayed(turn)})
    return chat.answer(turn, await terminal(turn.source))


@router.post("/chat/stream", response_class=StreamingResponse, responses=STREAM, tags=["chat"])
async def answer_streamed(
    asked: schemas.ChatRequest, caller: Writer, engine: Runs, kit: CurrentKit, key: IdempotencyKey
) -> StreamingResponse:
    """Say something to an agent, and hear the answer as it is made, with every tool call and handoff."""
    admission = await kit.limits.admit(
        Rate(limit_key(caller, "stream"), engine.settings.chat_stream_rate_limit_per_minute),
        Slots(limit_key(caller, "streams"), engine.settings.chat_stream_concurrent_limit),
    )
    async with AsyncExitStack() as undo:
        undo.push_async_callback(admission.lease.release)
        turn = await chat.begin(engine, kit.database, caller, asked, key)
        undo.pop_all()
    headers = {**admission.headers(), **replayed(turn), "Acme-Run-Id": str(turn.run.id)}
    return event_stream(turn.source, headers=headers, lease=admission.lease)


@router.get("/runs/{run_id}", response_model=schemas.Run, tags=["runs"])
async def read_run(run_id: UUID, caller: Reader, session: Session) -> models.Run:
    """Read one run: how far it is, and what came of it."""
    return await runs.find(session, caller, run_id)


@router.get("/runs/{run_id}/events", response_class=StreamingResponse, responses=RESUMED, tags=["runs"])
async def read_run_events(
    run_id: UUID, caller: Reader, engine: Runs, kit: CurrentKit, after: ResumeAfter
) -> Response:
    """Hear a run's events, from the beginning or from where a stream broke off; 204 when all was heard."""
    async with kit.database.begin() as session:
        run = await runs.find(session, caller, run_id)
    source = engine.source(run_id)
    last = await source.last()
    if last is None and (after or run.ended_at):
        raise RunLogExpired
    if last is not None and after > last.seq:
        raise BadEventId
    if last is not None and last.is_terminal and after == last.seq:
        # What tells an EventSource not to come again (WHATWG HTML 9.2.3).
        return Response(status_code=204)
    return event_stream(source, after)


@router.get("/agents", response_model=list[schemas.Agent], tags=["agents"])
async def list_agents(_caller: ToolReader) -> list[schemas.Agent]:
    """List the agents that can be talked to."""
    return [chat.described(agent) for agent in AGENTS.values()]


@router.get("/agents/{name}/status", response_model=schemas.AgentStatus, tags=["agents"])
async def read_agent_status(name: AgentName, caller: ToolReader, session: Session) -> schemas.AgentStatus:
    """Tell what one agent has done in this tenant."""
    if name not in AGENTS:
        raise UnknownAgent(f"There is no agent called {name!r}.")
    return await runs.activity(session, caller, name)


@router.get("/tools", response_model=schemas.Tools, tags=["agents"])
async def list_tools(_caller: ToolReader) -> schemas.Tools:
    """List the tools that agents may use."""
    categories = {category: [tool.name for tool in tools] for category, tools in TOOLS.items()}
    names = [name for tools in categories.values() for name in tools]
    return schemas.Tools(total_tools=len(names), tool_names=names, categories=categories)


def replayed(turn: Turn) -> dict[str, str]:
    """Say that the answer is to an earlier request with the same Idempotency-Key."""
    return {} if turn.is_new else {REPLAYED: "true"}


def event_stream(
    source: Source, after: int = 0, headers: dict[str, str] | None = None, lease: Lease | None = None
) -> StreamingResponse:
    """Stream a run's events; the lease is kept for as long as the stream stands, and then given back."""

    async def stream() -> AsyncIterator[bytes]:
        async with lease or nullcontext():
            async for frame in frames(source, after):
                yield frame

    # X-Accel-Buffering: proxies that are not ours should pass every event on at once, too.
    unbuffered = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        stream(), media_type="text/event-stream", headers={**unbuffered, **(headers or {})}
    )

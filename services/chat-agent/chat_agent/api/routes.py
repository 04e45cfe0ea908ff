"""The HTTP routes of the chat-agent."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response, status
from fastapi.responses import StreamingResponse
from servicekit import large_bodies
from servicekit.database import Session
from servicekit.schemas import Page

from chat_agent import models
from chat_agent.api import agent_list
from chat_agent.api.deadlines import replay_deadline
from chat_agent.api.dependencies import (
    IdempotencyKey,
    ManagerDep,
    Reader,
    ResumeAfter,
    ToolReader,
    Writer,
)
from chat_agent.api.rate_limits import ChatLimiter, ReplayLimiter
from chat_agent.api.run_request import RunRequest
from chat_agent.api.sse import EventStream
from chat_agent.api.start_run import (
    answer_approvals,
    chat_response,
    start_run,
    stop_run,
)
from chat_agent.attachments.request_data import MessageRoute
from chat_agent.event_log.document import STREAM_EVENT
from chat_agent.event_log.store import EventType
from chat_agent.execution import subscribe
from chat_agent.runs import approvals, queries, schemas, store, tool_calls
from chat_agent.schemas import MAX_MESSAGE_BODY, Agent, ChatRequest

RunFilters = Annotated[schemas.RunFilter, Query()]
RunQuery = Annotated[schemas.RunPage, Query()]
Internal = Annotated[
    bool, Query(description="Also those that only other agents reach; needs `agents:manage`.")
]

STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The run's events; `GET /api/v1/runs/{run_id}/events` with `Last-Event-ID` resumes.",
        "content": {"text/event-stream": {"schema": STREAM_EVENT}},
    }
}
RESUMED: dict[int | str, dict[str, Any]] = {
    **STREAM,
    204: {"description": "The run has finished, or waits for a person, and there are no more events."},
}
WAITING_RESPONSE: dict[int | str, dict[str, Any]] = {
    202: {"model": schemas.ChatAnswer, "description": "The run waits for `approvals`."}
}

router = APIRouter(prefix="/api/v1", route_class=MessageRoute)


@router.post(
    "/chat",
    response_model=schemas.ChatAnswer,
    responses=WAITING_RESPONSE,
    tags=["chat"],
    max_body_size=MAX_MESSAGE_BODY,
)
@router.post(
    "/agents/chat",
    response_model=schemas.ChatAnswer,
    responses=WAITING_RESPONSE,
    tags=["chat"],
    operation_id="chatWithAgent",
    max_body_size=MAX_MESSAGE_BODY,
)
async def create_chat(  # noqa: PLR0913, PLR0917  # what FastAPI injects
    request: ChatRequest,
    caller: Writer,
    manager: ManagerDep,
    key: IdempotencyKey,
    limiter: ChatLimiter,
    response: Response,
) -> schemas.ChatAnswer:
    """Send a message to an agent and get the whole answer; 202 when the run waits for an approval."""
    async with limiter.admit("chat") as grant:
        started = await start_run(manager, caller, RunRequest(request), key)
    large_bodies.release()
    final = await subscribe.final_event(manager, started.run.id)
    response.headers.update({**grant.headers(), **started.headers()})
    answer = chat_response(started, final)
    if final.type == EventType.RUN_WAITING:
        response.status_code = status.HTTP_202_ACCEPTED
        async with manager.database.begin() as session:
            of_run = await approvals.list_for_run(session, started.run.id)
        answer.approvals = [schemas.Approval.model_validate(one) for one in of_run if one.status == "pending"]
    return answer


@router.post(
    "/chat/stream",
    response_class=StreamingResponse,
    responses=STREAM,
    tags=["chat"],
    max_body_size=MAX_MESSAGE_BODY,
)
async def stream_chat(
    request: ChatRequest,
    caller: Writer,
    manager: ManagerDep,
    key: IdempotencyKey,
    limiter: ChatLimiter,
) -> StreamingResponse:
    """Send a message to an agent and stream the answer, with every tool call and handoff."""
    async with limiter.admit("stream") as grant:
        started = await start_run(manager, caller, RunRequest(request), key)
    frames = subscribe.sse_frames(manager, started.run, caller)
    return EventStream(frames, grant.lease, {**grant.headers(), **started.headers()})


@router.post(
    "/runs",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=schemas.Run,
    tags=["runs"],
    max_body_size=MAX_MESSAGE_BODY,
)
async def create_run(  # noqa: PLR0913, PLR0917  # what FastAPI injects
    request: ChatRequest,
    caller: Writer,
    manager: ManagerDep,
    key: IdempotencyKey,
    limiter: ChatLimiter,
    response: Response,
) -> models.Run:
    """Send a message to an agent without waiting; the run can be read, streamed and cancelled by its id."""
    async with limiter.admit("chat") as grant:
        started = await start_run(manager, caller, RunRequest(request), key)
    location = {"Location": f"/api/v1/runs/{started.run.id}"}
    response.headers.update({**grant.headers(), **started.headers(), **location})
    return started.run


@router.get("/runs", tags=["runs"])
async def list_runs(query: RunQuery, caller: Reader, session: Session) -> Page[schemas.RunSummary]:
    """List runs, the newest first: yours, or with `scope=tenant` everybody's, for owners and admins."""
    return await queries.list_runs(session, caller, query)


@router.get("/runs/totals", tags=["runs"])
async def get_run_totals(filters: RunFilters, caller: Reader, session: Session) -> list[schemas.RunTotals]:
    """Sum runs up, by model and status: how many, their tokens, cost and time."""
    return await queries.sum_usage(session, caller, filters)


@router.get("/runs/{run_id}", tags=["runs"])
async def get_run(run_id: UUID, caller: Reader, session: Session) -> schemas.RunDetail:
    """Read one run: its status, its approvals and its result."""
    run = schemas.Run.model_validate(await store.find(session, caller, run_id))
    run_approvals = await approvals.list_for_run(session, run_id)
    return schemas.RunDetail(**run.model_dump(exclude={"duration_ms"}), approvals=run_approvals)


@router.get("/runs/{run_id}/tool-calls", tags=["runs"])
async def list_tool_calls(run_id: UUID, caller: Reader, session: Session) -> list[schemas.ToolCallRecord]:
    """List a run's calls of tools: with what, how each ended, and who approved it."""
    return await tool_calls.list_for_run(session, await store.find(session, caller, run_id))


@router.get("/runs/{run_id}/events", response_class=StreamingResponse, responses=RESUMED, tags=["runs"])
async def stream_run_events(
    run_id: UUID, caller: Reader, manager: ManagerDep, limiter: ReplayLimiter, after: ResumeAfter
) -> Response:
    """Stream a run's events, from the beginning or after a number; 204 when there are no more."""
    async with replay_deadline():
        async with manager.database.begin() as session:
            run = await store.find(session, caller, run_id)
        has_more = await subscribe.has_more(manager, run, after)
    if not has_more:
        # What tells an EventSource not to come again (WHATWG HTML 9.2.3).
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    async with limiter.admit("replay") as grant:
        frames = subscribe.sse_frames(manager, run, caller, after)
    return EventStream(frames, grant.lease, grant.headers())


@router.post("/runs/{run_id}/cancel", response_model=schemas.Run, tags=["runs"])
async def cancel_run(run_id: UUID, caller: Writer, manager: ManagerDep) -> models.Run:
    """Stop a run. The partial answer is stored and its usage counted; the last event says when."""
    return await stop_run(manager, caller, run_id)


@router.post("/runs/{run_id}/approvals/{approval_id}", response_model=schemas.Run, tags=["runs"])
async def answer_approval(
    run_id: UUID, approval_id: UUID, decision: schemas.Answer, caller: Writer, manager: ManagerDep
) -> models.Run:
    """Approve or reject a tool call. After the last decision the run and its events continue."""
    return (await answer_approvals(manager, caller, run_id, {approval_id: decision})).run


@router.get("/agents", response_model=list[Agent], tags=["agents"])
async def list_agents(
    caller: ToolReader, session: Session, include_internal: Internal = False
) -> list[Agent]:
    """List the agents of the service, and those of the tenant that have a published version."""
    return await agent_list.list_agents(session, caller, include_internal=include_internal)

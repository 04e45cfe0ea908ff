"""What the chat-agent answers."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response, status
from fastapi.responses import StreamingResponse
from servicekit.database import Session
from servicekit.schemas import Page

from chat_agent import models, schemas
from chat_agent.agents import AGENTS
from chat_agent.agents.tools import TOOLS
from chat_agent.api import start_run
from chat_agent.api.dependencies import AgentName, Reader, ResumeAfter, Runs, ToolReader, Writer
from chat_agent.api.rate_limits import AtDesk, Listener
from chat_agent.api.sse import event_stream
from chat_agent.errors import UnknownAgent
from chat_agent.event_log.store import WAITING
from chat_agent.execution import subscribe
from chat_agent.runs import approvals, queries, store

Wanted = Annotated[schemas.RunFilter, Query()]
WantedPage = Annotated[schemas.RunPage, Query()]

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
    204: {"description": "The run is over, or waits for a person, and all of it was heard."},
}
WAITING_ANSWER: dict[int | str, dict[str, Any]] = {
    202: {"model": schemas.ChatAnswer, "description": "The run waits for an approval; read the run."}
}

router = APIRouter(prefix="/api/v1")


@router.post(
    "/chat",
    response_model=schemas.ChatAnswer,
    responses=WAITING_ANSWER,
    tags=["chat"],
    max_body_size=schemas.MAX_CHAT_BODY,
)
@router.post(
    "/agents/chat",
    response_model=schemas.ChatAnswer,
    responses=WAITING_ANSWER,
    tags=["chat"],
    operation_id="chat_with_agent",
    max_body_size=schemas.MAX_CHAT_BODY,
)
async def answer_whole(asked: schemas.ChatRequest, desk: AtDesk, response: Response) -> schemas.ChatAnswer:
    """Say something to an agent, and get the whole answer; 202 when the run waits for an approval first."""
    admitted = await desk.ask(asked, streamed=False)
    ended = await subscribe.end(desk.engine, admitted.turn.run.id)
    response.headers.update(admitted.headers)
    response.status_code = status.HTTP_202_ACCEPTED if ended.type == WAITING else status.HTTP_200_OK
    return start_run.answer(admitted.turn, ended)


@router.post(
    "/chat/stream",
    response_class=StreamingResponse,
    responses=STREAM,
    tags=["chat"],
    max_body_size=schemas.MAX_CHAT_BODY,
)
async def answer_streamed(asked: schemas.ChatRequest, desk: AtDesk) -> StreamingResponse:
    """Say something to an agent, and hear the answer as it is made, with every tool call and handoff."""
    admitted = await desk.ask(asked, streamed=True)
    events = subscribe.frames(desk.engine, admitted.turn.run.id, admitted.may_hear)
    return event_stream(events, admitted.lease, admitted.headers)


@router.post(
    "/runs",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=schemas.Run,
    tags=["runs"],
    max_body_size=schemas.MAX_CHAT_BODY,
)
async def begin_run(asked: schemas.ChatRequest, desk: AtDesk, response: Response) -> models.Run:
    """Say something to an agent, and go away: the run can be read, heard and cancelled by its id."""
    admitted = await desk.ask(asked, streamed=False)
    run = admitted.turn.run
    response.headers.update({**admitted.headers, "Location": f"/api/v1/runs/{run.id}"})
    return run


@router.get("/runs", tags=["runs"])
async def list_runs(wanted: WantedPage, caller: Reader, session: Session) -> Page[schemas.RunSummary]:
    """List runs, the newest first: yours, or with `of=tenant` everybody's, for owners and admins."""
    return await queries.page(session, caller, wanted)


@router.get("/runs/totals", tags=["runs"])
async def sum_up_runs(wanted: Wanted, caller: Reader, session: Session) -> list[schemas.RunTotals]:
    """Sum runs up, by model and status: how many, their tokens, cost and time."""
    return await queries.totals(session, caller, wanted)


@router.get("/runs/{run_id}", tags=["runs"])
async def read_run(run_id: UUID, caller: Reader, session: Session) -> schemas.WholeRun:
    """Read one run: how far it is, what it has asked, and what came of it."""
    run = schemas.Run.model_validate(await store.find(session, caller, run_id))
    asked = await approvals.of_run(session, run_id)
    return schemas.WholeRun(**run.model_dump(exclude={"duration_ms"}), approvals=asked)


@router.get("/runs/{run_id}/events", response_class=StreamingResponse, responses=RESUMED, tags=["runs"])
async def read_run_events(run_id: UUID, ear: Listener, after: ResumeAfter) -> Response:
    """Hear a run's events, from the beginning or from where a stream broke off; 204 when all was heard."""
    if not await subscribe.has_more(ear.engine, ear.caller, run_id, after):
        # What tells an EventSource not to come again (WHATWG HTML 9.2.3).
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    admission = await ear.listen()
    events = subscribe.frames(ear.engine, run_id, ear.may_hear, after)
    return event_stream(events, admission.lease, admission.headers())


@router.post("/runs/{run_id}/cancel", response_model=schemas.Run, tags=["runs"])
async def cancel_run(run_id: UUID, caller: Writer, engine: Runs) -> models.Run:
    """Stop a run. What it has said is kept, marked as incomplete, and counted; its last event says when."""
    return await start_run.cancel(engine, caller, run_id)


@router.post("/runs/{run_id}/approvals/{approval_id}", response_model=schemas.Run, tags=["runs"])
async def answer_approval(
    run_id: UUID, approval_id: UUID, given: schemas.Answer, caller: Writer, engine: Runs
) -> models.Run:
    """Allow or refuse what a run has asked for. When all is answered it goes on; its events go on, too."""
    return (await start_run.go_on(engine, caller, run_id, {approval_id: given})).run


@router.get("/agents", response_model=list[schemas.Agent], tags=["agents"])
async def list_agents(_caller: ToolReader) -> list[schemas.Agent]:
    """List the agents that can be talked to."""
    return [start_run.described(agent) for agent in AGENTS.values()]


@router.get("/agents/{name}/status", response_model=schemas.AgentStatus, tags=["agents"])
async def read_agent_status(name: AgentName, caller: ToolReader, session: Session) -> schemas.AgentStatus:
    """Tell what one agent has done in this tenant."""
    if name not in AGENTS:
        raise UnknownAgent(f"There is no agent called {name!r}.")
    return await store.activity(session, caller, name)


@router.get("/tools", response_model=schemas.Tools, tags=["agents"])
async def list_tools(_caller: ToolReader) -> schemas.Tools:
    """List the tools that agents may use."""
    categories = {category: [tool.name for tool in tools] for category, tools in TOOLS.items()}
    names = [name for tools in categories.values() for name in tools]
    return schemas.Tools(total_tools=len(names), tool_names=names, categories=categories)

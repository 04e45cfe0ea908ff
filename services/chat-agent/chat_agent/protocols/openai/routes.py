"""The routes that OpenAI's clients speak to: a model is an agent, a response is a run."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from servicekit import large_bodies
from servicekit.auth.tokens import Principal
from servicekit.database import Session

from chat_agent.agent_definitions import store as agent_store
from chat_agent.api.branches import continue_run
from chat_agent.api.deadlines import replay_deadline
from chat_agent.api.dependencies import IdempotencyKey, ManagerDep, Reader, ToolReader, Writer
from chat_agent.api.disconnects import disconnect_handler, watched
from chat_agent.api.rate_limits import ChatLimiter, ReplayLimiter
from chat_agent.api.sse import EventStream
from chat_agent.api.start_run import StartedRun, answer_approvals, stop_run
from chat_agent.attachments.request_data import MessageRoute
from chat_agent.errors import AgentNotFound
from chat_agent.execution import subscribe
from chat_agent.execution.manager import RunManager
from chat_agent.models import Run, RunStatus
from chat_agent.protocols import responses
from chat_agent.protocols.encoder import feed, stream
from chat_agent.protocols.errors import InvalidParameter
from chat_agent.protocols.openai import choices, errors, stored_responses
from chat_agent.protocols.openai.chat_completions import ChatCompletion
from chat_agent.protocols.openai.conversation_items import ItemQuery
from chat_agent.protocols.openai.conversation_routes import ITEMS, Deleter
from chat_agent.protocols.openai.end_users import acting_as_owner, acting_for
from chat_agent.protocols.openai.models import Model, ModelList, models_for
from chat_agent.protocols.openai.on_disconnect import read_on_disconnect
from chat_agent.protocols.openai.prompts import named_by, select_version
from chat_agent.protocols.openai.references import resolve_references
from chat_agent.protocols.openai.requests import CompletionRequest, ResponseRequest
from chat_agent.protocols.openai.response_docs import complete_doc, complete_or_stream_doc
from chat_agent.protocols.openai.responses_stream import ResponseStream
from chat_agent.protocols.openai.stored_responses import find_response
from chat_agent.schemas import MAX_MESSAGE_BODY

ModelName = Annotated[str, Path(max_length=200)]
ResponseId = Annotated[str, Path(pattern="^resp_[0-9a-f]{32}$")]
After = Annotated[int, Query(ge=-1, description="With `stream`: go on after this `sequence_number`.")]


DELETED: responses.Responses = {
    200: {"description": "The response is deleted.", "content": complete_doc("response")}
}
CANCELLED_RESPONSE: responses.Responses = {
    200: {"description": "The response, cancelled.", "content": complete_doc("response")}
}


router = APIRouter(
    prefix="/v1",
    tags=["openai"],
    responses=errors.ERROR_RESPONSES,
    route_class=MessageRoute,
    max_body_size=MAX_MESSAGE_BODY,
)


@router.get("/models", response_model=ModelList)
async def list_models(caller: ToolReader, manager: ManagerDep, session: Session) -> ModelList:
    """List the agents, and the models that can be called directly."""
    own = await agent_store.published(session, caller.tenant_id)
    return ModelList(data=models_for(manager.settings, manager.catalogue, caller.tenant_id, own))


@router.get("/models/{name:path}", response_model=Model)
async def get_model(name: ModelName, caller: ToolReader, manager: ManagerDep, session: Session) -> Model:
    """Read one agent or model."""
    own = await agent_store.published(session, caller.tenant_id)
    for model in models_for(manager.settings, manager.catalogue, caller.tenant_id, own):
        if model.id == name:
            return model
    raise AgentNotFound(f"There is no agent or model called {name!r}.")


@router.post(
    "/chat/completions",
    response_class=Response,
    responses=complete_or_stream_doc("A completion, or its chunks.", "chat.completion"),
)
async def create_chat_completion(  # noqa: PLR0913, PLR0917  # what FastAPI injects
    body: CompletionRequest,
    caller: Writer,
    manager: ManagerDep,
    key: IdempotencyKey,
    limiter: ChatLimiter,
    http_request: Request,
) -> Response:
    """Answer the last message; the ones before it open a new conversation, unless one is named."""
    caller = acting_for(caller, body)
    request = body.translate(await manager.profile_of(caller.tenant_id, body.model), manager.settings)
    requested = read_on_disconnect(body.metadata)
    async with limiter.for_caller(caller).admit("stream" if body.stream else "chat") as grant:
        started = await choices.start_choices(manager, caller, request, key, limiter.for_caller(caller))
    encoders = choices_of(body, started)
    headers = {**grant.headers(), **choices.headers_of(started)}
    unsent = [*started]
    handler = disconnect_handler(manager, caller, "chat_completions", requested, unsent)
    if not body.stream:
        large_bodies.release()
        async with watched(http_request, handler):
            await choices.complete(manager, started, encoders, handler)
        return JSONResponse(encoders[0].completion(), headers=headers)
    if len(started) == 1:
        frames = stream(manager, started[0].run.id, encoders[0], caller)
    else:
        frames = choices.stream_choices(manager, caller, unsent, encoders, handler)
    return EventStream(frames, grant.lease, headers, handler)


def choices_of(body: CompletionRequest, started: Sequence[StartedRun]) -> list[ChatCompletion]:
    """Return the encoders of a completion's choices."""
    include_usage = bool(body.stream_options and body.stream_options.include_usage)
    encoders: list[ChatCompletion] = []
    for one in started:
        ChatCompletion(one.run, metadata=body.metadata, include_usage=include_usage, choices=encoders)
    return encoders


@router.post(
    "/responses",
    response_class=Response,
    responses=complete_or_stream_doc("A response, or its events.", "response"),
)
async def create_response(  # noqa: PLR0913, PLR0917  # what FastAPI injects
    body: ResponseRequest,
    caller: Writer,
    manager: ManagerDep,
    key: IdempotencyKey,
    limiter: ChatLimiter,
    http_request: Request,
) -> Response:
    """Answer the input; `previous_response_id` or `conversation` continues a conversation."""
    caller = acting_for(caller, body)
    requested = "continue" if body.background else read_on_disconnect(body.metadata)
    previous = await find_previous(body, caller, manager)
    if previous is not None:
        caller = acting_as_owner(caller, previous)
    body = await resolve_references(manager, caller, body, conversation_of(body, previous))
    start = await prepare_start(manager, caller, body, key, previous)
    async with limiter.for_caller(caller).admit("stream" if body.stream else "chat") as grant:
        with named_by(body.prompt):
            started = await start()
    large_bodies.release()
    encoder = ResponseStream(started.run, request=body.model_dump(include=ECHOED))
    handler = disconnect_handler(manager, caller, "responses", requested, [started])
    if body.stream:
        return responses.streaming_response(manager, caller, started, grant, encoder, on_disconnect=handler)
    if body.background:
        feed(encoder, await subscribe.read_all(manager, started.run.id))
    else:
        async with watched(http_request, handler):
            await responses.complete(manager, started.run.id, encoder)
    return JSONResponse(encoder.response, headers={**grant.headers(), **started.headers()})


def conversation_of(body: ResponseRequest, previous: Run | None) -> UUID | None:
    """Return the conversation that a request continues, if it continues one."""
    return previous.conversation_id if previous else body.conversation_id()


async def prepare_start(
    manager: RunManager, caller: Principal, body: ResponseRequest, key: str | None, previous: Run | None
) -> Callable[[], Awaitable[StartedRun]]:
    """Return what starts the run: with the decisions in the input, or with a new request."""
    if decisions := body.approvals():
        if previous is None:
            raise InvalidParameter("previous_response_id", "Name the response that has asked for approval.")
        return partial(answer_approvals, manager, caller, previous.id, decisions)
    conversation_id = conversation_of(body, previous)
    profile = await manager.profile_of(caller.tenant_id, body.agent_name)
    request = replace(
        body.translate(profile, conversation_id, manager.settings),
        selection=await select_version(manager, caller, body.prompt, conversation_id),
    )
    return partial(continue_run, manager, caller, request, key, previous)


@router.get(
    "/responses/{response_id}",
    response_class=Response,
    responses=complete_or_stream_doc("A response, or its events again.", "response"),
)
async def get_response(  # noqa: PLR0913, PLR0917  # what FastAPI injects
    response_id: ResponseId,
    caller: Reader,
    manager: ManagerDep,
    limiter: ReplayLimiter,
    stream: bool = False,
    starting_after: After = -1,
) -> Response:
    """Read a response, or stream it from the beginning or after a sequence number."""
    async with replay_deadline(), manager.database.begin() as session:
        run = await find_response(session, caller, response_id)
    encoder = ResponseStream(run, after=starting_after)
    if stream:
        return await responses.replay_response(manager, limiter, run.id, encoder)
    feed(encoder, await subscribe.read_all(manager, run.id))
    return JSONResponse(encoder.response)


@router.get("/responses/{response_id}/input_items", response_class=Response, responses=ITEMS)
async def list_input_items(
    response_id: ResponseId, query: ItemQuery, caller: Reader, manager: ManagerDep
) -> Response:
    """List what the model was told for a response: the history, and its own input."""
    async with manager.database.begin() as session:
        run = await find_response(session, caller, response_id)
    items = await stored_responses.input_items(manager, caller, run)
    return JSONResponse(stored_responses.page_of(items, query))


@router.delete("/responses/{response_id}", response_class=Response, responses=DELETED)
async def delete_response(response_id: ResponseId, caller: Deleter, manager: ManagerDep) -> Response:
    """Delete a response and its turn in the conversation; its usage stays."""
    async with manager.database.begin() as session:
        run = await find_response(session, caller, response_id)
    await stored_responses.delete(manager, caller, run)
    return JSONResponse({"id": response_id, "object": "response", "deleted": True})


@router.post("/responses/{response_id}/cancel", response_class=Response, responses=CANCELLED_RESPONSE)
async def cancel_response(response_id: ResponseId, caller: Writer, manager: ManagerDep) -> Response:
    """Cancel a response; one that is cancelled already is returned as it is. The partial output is stored."""
    async with manager.database.begin() as session:
        run = await find_response(session, caller, response_id)
    if run.status != RunStatus.CANCELLED:
        run = await stop_run(manager, caller, run.id)
    events = await subscribe.wait_for_end(manager, run.id)
    encoder = ResponseStream(run)
    feed(encoder, events)
    if not events[-1].is_terminal:
        # It waited for a person, and whoever takes it up ends it.
        encoder.response["status"] = "cancelled"
    return JSONResponse(encoder.response)


# What a response gives back of its request.
ECHOED = {
    *("instructions", "metadata", "previous_response_id", "background", "safety_identifier", "user"),
    "prompt",
}


async def find_previous(body: ResponseRequest, caller: Principal, manager: RunManager) -> Run | None:
    """Return the run of the response that this one continues, if it names one; raises RunNotFound."""
    if body.previous_response_id is None:
        return None
    async with manager.database.begin() as session:
        return await find_response(session, caller, body.previous_response_id)

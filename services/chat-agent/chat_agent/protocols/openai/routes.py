"""The routes that OpenAI's clients speak to: a model is an agent, a response is a run."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import JSONResponse

from chat_agent.agents import AGENTS
from chat_agent.api import start_run
from chat_agent.api.dependencies import Runs, ToolReader, Writer
from chat_agent.api.rate_limits import Admitted, AtDesk, Desk, Listener
from chat_agent.errors import UnknownAgent
from chat_agent.execution import subscribe
from chat_agent.models import CANCELLED
from chat_agent.protocols import responses
from chat_agent.protocols.encoder import hear
from chat_agent.protocols.openai import errors
from chat_agent.protocols.openai.chat_completions import ChatCompletion
from chat_agent.protocols.openai.errors import InvalidParameter
from chat_agent.protocols.openai.models import Model, ModelList, model_of
from chat_agent.protocols.openai.requests import CompletionRequest, ResponseRequest
from chat_agent.protocols.openai.response_object import Json, run_id_of
from chat_agent.protocols.openai.responses_stream import ResponseStream
from chat_agent.runs import store
from chat_agent.schemas import MAX_CHAT_BODY

ModelName = Annotated[str, Path(max_length=64)]
ResponseId = Annotated[str, Path(pattern="^resp_[0-9a-f]{32}$")]
After = Annotated[int, Query(ge=-1, description="With `stream`: go on after this `sequence_number`.")]


def either(description: str, name: str) -> responses.Responses:
    """Describe an answer that comes whole or as a stream."""
    both = responses.streams(description)
    return {200: {**both, "content": {**both["content"], **whole(name)}}}


def whole(name: str) -> Json:
    """Describe an answer that comes whole."""
    schema = {"type": "object", "required": ["id", "object"], "properties": {"object": {"const": name}}}
    return {"application/json": {"schema": schema}}


STOPPED: responses.Responses = {
    200: {"description": "The response, cancelled.", "content": whole("response")}
}


router = APIRouter(prefix="/v1", tags=["openai"], responses=errors.ANSWER, max_body_size=MAX_CHAT_BODY)


@router.get("/models", response_model=ModelList)
async def list_models(_caller: ToolReader) -> ModelList:
    """List the agents as models."""
    return ModelList(data=[model_of(name) for name in AGENTS])


@router.get("/models/{name}", response_model=Model)
async def read_model(name: ModelName, _caller: ToolReader) -> Model:
    """Read one agent as a model."""
    if name not in AGENTS:
        raise UnknownAgent(f"There is no agent called {name!r}.")
    return model_of(name)


@router.post(
    "/chat/completions",
    response_class=Response,
    responses=either("A completion, or its chunks.", "chat.completion"),
)
async def complete_chat(body: CompletionRequest, desk: AtDesk) -> Response:
    """Answer the last message; the ones before it open a new conversation, unless one is named."""
    asked = body.asked()
    admitted = await desk.ask(asked.request, asked.prelude, streamed=bool(body.stream))
    run, include_usage = admitted.turn.run, bool(body.stream_options and body.stream_options.include_usage)
    voice = ChatCompletion(run, metadata=body.metadata, include_usage=include_usage)
    if body.stream:
        return responses.streamed(desk.engine, admitted, voice)
    await responses.whole(desk.engine, run.id, voice)
    return JSONResponse(voice.whole(), headers=admitted.headers)


@router.post(
    "/responses", response_class=Response, responses=either("A response, or its events.", "response")
)
async def create_response(body: ResponseRequest, desk: AtDesk) -> Response:
    """Answer the input; `previous_response_id` or `conversation` goes on with a conversation."""
    admitted, given = await admitted_to(body, desk), body.model_dump(include=ECHOED)
    run = admitted.turn.run
    voice = ResponseStream(run, asked=given)
    if body.stream:
        return responses.streamed(desk.engine, admitted, voice)
    if body.background:
        hear(voice, await subscribe.so_far(desk.engine, run.id))
    else:
        await responses.whole(desk.engine, run.id, voice)
    return JSONResponse(voice.response, headers=admitted.headers)


@router.get(
    "/responses/{response_id}",
    response_class=Response,
    responses=either("A response, or its events again.", "response"),
)
async def read_response(
    response_id: ResponseId, ear: Listener, stream: bool = False, starting_after: After = -1
) -> Response:
    """Read a response, or hear it from the beginning or from where a stream broke off."""
    async with ear.engine.database.begin() as session:
        run = await store.find(session, ear.caller, run_id_of(response_id))
    voice = ResponseStream(run, after=starting_after)
    if stream:
        return await responses.again(ear, run.id, voice)
    hear(voice, await subscribe.so_far(ear.engine, run.id))
    return JSONResponse(voice.response)


@router.post("/responses/{response_id}/cancel", response_class=Response, responses=STOPPED)
async def cancel_response(response_id: ResponseId, caller: Writer, engine: Runs) -> Response:
    """Stop a response; one that was cancelled already is given as it is. What it has said is kept."""
    async with engine.database.begin() as session:
        run = await store.find(session, caller, run_id_of(response_id))
    if run.status != CANCELLED:
        run = await start_run.cancel(engine, caller, run.id)
    events = await subscribe.to_the_end(engine, run.id)
    voice = ResponseStream(run)
    hear(voice, events)
    if not events[-1].is_terminal:
        # It waited for a person, and whoever takes it up ends it.
        voice.response["status"] = "cancelled"
    return JSONResponse(voice.response)


# What a response gives back of its request.
ECHOED = {"instructions", "metadata", "previous_response_id", "background"}


async def admitted_to(body: ResponseRequest, desk: Desk) -> Admitted:
    """Begin a response, or let one go on whose requests for approval are answered; raises UnknownRun."""
    previous, conversation_id = None, body.conversation_id()
    if body.previous_response_id is not None:
        async with desk.engine.database.begin() as session:
            previous = await store.find(session, desk.caller, run_id_of(body.previous_response_id))
    if given := body.approvals():
        if previous is None:
            raise InvalidParameter("previous_response_id", "Name the response that has asked for approval.")
        return await desk.allow(previous.id, given, streamed=bool(body.stream))
    asked = body.asked(previous.conversation_id if previous else conversation_id)
    return await desk.ask(asked.request, asked.prelude, streamed=bool(body.stream))

"""The routes that OpenAI's clients speak to: a model is an agent, a response is a run."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import JSONResponse

from chat_agent.agents import AGENTS
from chat_agent.api import start_run
from chat_agent.api.dependencies import ManagerDep, ToolReader, Writer
from chat_agent.api.rate_limits import Admitted, ChatLimiter, ChatLimiterDep, StreamLimiterDep
from chat_agent.errors import AgentNotFound
from chat_agent.execution import subscribe
from chat_agent.models import RunStatus
from chat_agent.protocols import responses
from chat_agent.protocols.encoder import feed
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


def complete_or_stream_doc(description: str, name: str) -> responses.Responses:
    """Describe an answer that comes whole or as a stream."""
    both = responses.stream_response_doc(description)
    return {200: {**both, "content": {**both["content"], **complete_doc(name)}}}


def complete_doc(name: str) -> Json:
    """Describe an answer that comes whole."""
    schema = {"type": "object", "required": ["id", "object"], "properties": {"object": {"const": name}}}
    return {"application/json": {"schema": schema}}


CANCELLED_RESPONSE: responses.Responses = {
    200: {"description": "The response, cancelled.", "content": complete_doc("response")}
}


router = APIRouter(
    prefix="/v1", tags=["openai"], responses=errors.ERROR_RESPONSES, max_body_size=MAX_CHAT_BODY
)


@router.get("/models", response_model=ModelList)
async def list_models(_caller: ToolReader) -> ModelList:
    """List the agents as models."""
    return ModelList(data=[model_of(name) for name in AGENTS])


@router.get("/models/{name}", response_model=Model)
async def read_model(name: ModelName, _caller: ToolReader) -> Model:
    """Read one agent as a model."""
    if name not in AGENTS:
        raise AgentNotFound(f"There is no agent called {name!r}.")
    return model_of(name)


@router.post(
    "/chat/completions",
    response_class=Response,
    responses=complete_or_stream_doc("A completion, or its chunks.", "chat.completion"),
)
async def complete_chat(body: CompletionRequest, limiter: ChatLimiterDep) -> Response:
    """Answer the last message; the ones before it open a new conversation, unless one is named."""
    translated = body.translate()
    admitted = await limiter.start(translated.request, translated.prelude, streamed=bool(body.stream))
    run, include_usage = admitted.turn.run, bool(body.stream_options and body.stream_options.include_usage)
    encoder = ChatCompletion(run, metadata=body.metadata, include_usage=include_usage)
    if body.stream:
        return responses.streaming_response(limiter.manager, admitted, encoder)
    await responses.complete(limiter.manager, run.id, encoder)
    return JSONResponse(encoder.completion(), headers=admitted.headers)


@router.post(
    "/responses",
    response_class=Response,
    responses=complete_or_stream_doc("A response, or its events.", "response"),
)
async def create_response(body: ResponseRequest, limiter: ChatLimiterDep) -> Response:
    """Answer the input; `previous_response_id` or `conversation` goes on with a conversation."""
    admitted, echoed = await start_response(body, limiter), body.model_dump(include=ECHOED)
    run = admitted.turn.run
    encoder = ResponseStream(run, request=echoed)
    if body.stream:
        return responses.streaming_response(limiter.manager, admitted, encoder)
    if body.background:
        feed(encoder, await subscribe.read_all(limiter.manager, run.id))
    else:
        await responses.complete(limiter.manager, run.id, encoder)
    return JSONResponse(encoder.response, headers=admitted.headers)


@router.get(
    "/responses/{response_id}",
    response_class=Response,
    responses=complete_or_stream_doc("A response, or its events again.", "response"),
)
async def read_response(
    response_id: ResponseId, limiter: StreamLimiterDep, stream: bool = False, starting_after: After = -1
) -> Response:
    """Read a response, or hear it from the beginning or from where a stream broke off."""
    async with limiter.manager.database.begin() as session:
        run = await store.find(session, limiter.caller, run_id_of(response_id))
    encoder = ResponseStream(run, after=starting_after)
    if stream:
        return await responses.replay_response(limiter, run.id, encoder)
    feed(encoder, await subscribe.read_all(limiter.manager, run.id))
    return JSONResponse(encoder.response)


@router.post("/responses/{response_id}/cancel", response_class=Response, responses=CANCELLED_RESPONSE)
async def cancel_response(response_id: ResponseId, caller: Writer, manager: ManagerDep) -> Response:
    """Stop a response; one that was cancelled already is given as it is. What it has said is kept."""
    async with manager.database.begin() as session:
        run = await store.find(session, caller, run_id_of(response_id))
    if run.status != RunStatus.CANCELLED:
        run = await start_run.cancel_run(manager, caller, run.id)
    events = await subscribe.wait_for_end(manager, run.id)
    encoder = ResponseStream(run)
    feed(encoder, events)
    if not events[-1].is_terminal:
        # It waited for a person, and whoever takes it up ends it.
        encoder.response["status"] = "cancelled"
    return JSONResponse(encoder.response)


# What a response gives back of its request.
ECHOED = {"instructions", "metadata", "previous_response_id", "background"}


async def start_response(body: ResponseRequest, limiter: ChatLimiter) -> Admitted:
    """Begin a response, or let one go on whose requests for approval are answered; raises RunNotFound."""
    previous, conversation_id = None, body.conversation_id()
    if body.previous_response_id is not None:
        async with limiter.manager.database.begin() as session:
            previous = await store.find(session, limiter.caller, run_id_of(body.previous_response_id))
    if decisions := body.approvals():
        if previous is None:
            raise InvalidParameter("previous_response_id", "Name the response that has asked for approval.")
        return await limiter.answer_approvals(previous.id, decisions, streamed=bool(body.stream))
    translated = body.translate(previous.conversation_id if previous else conversation_id)
    return await limiter.start(translated.request, translated.prelude, streamed=bool(body.stream))

"""The routes whose requests are passed on to a model: embeddings, moderations, and the older completions."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from servicekit.auth.tokens import Principal
from servicekit.errors import ServiceError

from chat_agent.api.dependencies import ManagerDep, Writer
from chat_agent.api.disconnects import result_unless_disconnected
from chat_agent.api.plain_call import PlainCall
from chat_agent.api.rate_limits import ChatLimiter
from chat_agent.api.sse import EventStream
from chat_agent.execution.manager import RunManager
from chat_agent.protocols import responses
from chat_agent.protocols.encoder import DONE, data_event
from chat_agent.protocols.openai import errors
from chat_agent.protocols.openai.end_users import acting_for
from chat_agent.protocols.openai.plain_requests import (
    EmbeddingRequest,
    ModerationRequest,
    TextCompletionRequest,
)
from chat_agent.protocols.openai.response_docs import complete_doc, complete_or_stream_doc
from chat_agent.schemas import MAX_CHAT_BODY

router = APIRouter(
    prefix="/v1", tags=["openai"], responses=errors.ERROR_RESPONSES, max_body_size=MAX_CHAT_BODY
)
EMBEDDINGS: responses.Responses = {
    200: {"description": "The embeddings.", "content": complete_doc("list", ["object", "data"])}
}
# What logs and metrics have of a request whose client has disconnected, as nginx calls it.
CLIENT_CLOSED_REQUEST = 499
MODERATION: responses.Responses = {
    200: {"description": "The moderation.", "content": complete_doc(None, ["id", "results"])}
}


@router.post("/embeddings", response_class=Response, responses=EMBEDDINGS)
async def create_embeddings(
    body: EmbeddingRequest, caller: Writer, manager: ManagerDep, limiter: ChatLimiter, request: Request
) -> Response:
    """Embed texts."""
    return await complete(body, caller, manager, limiter, request)


@router.post("/moderations", response_class=Response, responses=MODERATION)
async def create_moderation(
    body: ModerationRequest, caller: Writer, manager: ManagerDep, limiter: ChatLimiter, request: Request
) -> Response:
    """Check texts for harmful content."""
    return await complete(body, caller, manager, limiter, request)


@router.post(
    "/completions",
    response_class=Response,
    responses=complete_or_stream_doc("A completion, or its chunks.", "text_completion"),
)
async def create_completion(
    body: TextCompletionRequest, caller: Writer, manager: ManagerDep, limiter: ChatLimiter, request: Request
) -> Response:
    """Complete a prompt."""
    caller = acting_for(caller, body)
    async with limiter.for_caller(caller).admit("stream" if body.stream else "chat") as grant:
        call = PlainCall(manager, caller, body.translate(manager.settings))
        if not body.stream:
            return await whole(request, call, grant.headers())
        events = call.stream()
        # A failure before the first event has a status of its own.
        first = await anext(events)
    frames = encode(first, events, wants_usage=body.wants_usage)
    return EventStream(frames, grant.lease, grant.headers())


async def complete(
    body: EmbeddingRequest | ModerationRequest,
    caller: Principal,
    manager: RunManager,
    limiter: ChatLimiter,
    request: Request,
) -> Response:
    """Pass a request on, and return its whole answer."""
    caller = acting_for(caller, body)
    async with limiter.for_caller(caller).admit("chat") as grant:
        call = PlainCall(manager, caller, body.translate(manager.settings))
        return await whole(request, call, grant.headers())


async def encode(first: Any, events: Any, *, wants_usage: bool) -> AsyncIterator[bytes]:
    """Encode events; the usage only where the client wants it."""
    async with aclosing(events):
        yield data_event(first)
        try:
            async for event in events:
                if wants_usage or event.get("choices"):
                    yield data_event(event)
        except ServiceError as error:
            yield data_event({"error": errors.render_error(error)})
        yield DONE


async def whole(request: Request, call: PlainCall, headers: dict[str, str]) -> Response:
    """Return the answer to a call as it is; without its client the call is cancelled: nobody can read it."""
    answer = await result_unless_disconnected(request, call.complete())
    if answer is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    # Embeddings are long.
    return Response(orjson.dumps(answer), media_type="application/json", headers=headers)

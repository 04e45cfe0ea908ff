"""A model with no model behind it, by the APIs of OpenAI, Anthropic and Gemini."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Body, Depends, FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from sandbox import anthropic_api, directives, gemini_api
from sandbox.answering import fail_if_directed, parameters_of, respond
from sandbox.chat_completions_api import ChatCompletion
from sandbox.completions_api import Completion, CompletionRequest
from sandbox.embeddings import EmbeddingsRequest
from sandbox.messages import Json, Reply
from sandbox.moderations import ModerationsRequest
from sandbox.provider_errors import ApiError, request_id
from sandbox.requests import ChatRequest, ResponsesRequest
from sandbox.responses_api import ResponseObject
from sandbox.signatures import is_signed
from sandbox.streaming import CallRecord, ModelFailed
from sandbox.tokens import Usage, count_tokens

MODELS = ("sandbox-large", "sandbox-small", "sandbox-embedding", "sandbox-moderation")
_MAX_CALLS = 10_000


def _authenticate(request: Request) -> None:
    kind, _, key = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not key.strip():
        raise ApiError(401, "You did not provide an API key in the Authorization header.")
    if key.startswith("sk-invalid"):
        raise ApiError(401, "Incorrect API key provided.")


def _provider(request: Request) -> str:
    """Return who is called: xAI, which speaks OpenAI's protocol, has keys that begin so."""
    return "xai" if request.headers.get("Authorization", "").endswith("xai-sandbox") else "openai"


router = APIRouter(prefix="/v1", dependencies=[Depends(_authenticate)])
control = APIRouter(prefix="/_sandbox")

JsonBody = Annotated[Json, Body()]
# OpenAI's clients say how often they have tried before: so a fault can pass without being remembered.
Attempt = Annotated[int, Header(alias="x-stainless-retry-count", ge=0)]


@router.post("/responses")
async def create_response(body: JsonBody, request: Request, attempt: Attempt = 0) -> Response:
    """Answer on the Responses wire."""
    parsed = ResponsesRequest.model_validate(body)
    if body.get("previous_response_id") or body.get("conversation"):
        raise ApiError(400, "The sandbox keeps no conversations; send the whole input.")

    provider = _provider(request)
    for item in parsed.items:
        if item.encrypted_content and not is_signed(provider, "reasoning", item.encrypted_content):
            raise ApiError(400, "The encrypted content could not be verified.")

    def build(reply: Reply, usage: Usage) -> ResponseObject:
        return ResponseObject(body, reply, usage, provider, parsed.requested_logprobs)

    return await respond(request, attempt, parsed.to_model_request(), parsed.stream, build)


@router.post("/chat/completions")
async def create_chat_completion(body: JsonBody, request: Request, attempt: Attempt = 0) -> Response:
    """Answer on the Chat Completions wire."""
    parsed = ChatRequest.model_validate(body)

    def build(reply: Reply, usage: Usage) -> ChatCompletion:
        top_logprobs = parsed.requested_logprobs
        return ChatCompletion(
            parsed.model, reply, usage, wants_usage=parsed.wants_usage, top_logprobs=top_logprobs
        )

    return await respond(request, attempt, parsed.to_model_request(), parsed.stream, build)


@router.post("/completions")
async def create_completion(body: JsonBody, request: Request, attempt: Attempt = 0) -> Response:
    """Answer on the older Completions wire."""
    parsed = CompletionRequest.model_validate(body)

    def build(reply: Reply, usage: Usage) -> Completion:
        return Completion(parsed, reply, usage)

    return await respond(request, attempt, parsed.to_model_request(), parsed.stream, build)


@router.post("/embeddings")
async def create_embeddings(body: JsonBody, request: Request, attempt: Attempt = 0) -> Response:
    """Embed texts."""
    parsed = EmbeddingsRequest.model_validate(body)
    return await _respond_plainly(request, attempt, parsed.model, parsed.texts, parsed.body())


@router.post("/moderations")
async def create_moderation(body: JsonBody, request: Request, attempt: Attempt = 0) -> Response:
    """Moderate texts."""
    parsed = ModerationsRequest.model_validate(body)
    return await _respond_plainly(request, attempt, parsed.model, parsed.texts, parsed.body())


async def _respond_plainly(
    request: Request, attempt: int, model: str, texts: list[str], answer: Json
) -> Response:
    """Answer without a stream, unless the first text asks for an error."""
    question = texts[0] if texts else ""
    orders = directives.parse(question, model)
    await fail_if_directed(orders, attempt)
    await asyncio.sleep(orders.delay)
    usage = Usage(sum(map(count_tokens, texts)), 0, 0, 0)
    parameters = parameters_of(await request.json())
    call = CallRecord(f"call-{uuid4().hex}", request.url.path, model, attempt, usage, question, parameters)
    call.status = "completed"
    request.app.state.calls.append(call)
    return JSONResponse(answer, headers=request_id())


@router.get("/models")
async def list_models() -> Json:
    """Name the models; any other name is answered all the same."""
    return {"object": "list", "data": [_model(name) for name in MODELS]}


@router.get("/models/{name:path}")
async def show_model(name: str) -> Json:
    """Describe a model."""
    return _model(name)


def _model(name: str) -> Json:
    return {"id": name, "object": "model", "created": 1_767_225_600, "owned_by": "acme-sandbox"}


@control.get("/calls")
async def list_calls(request: Request) -> list[Json]:
    """List the latest calls, oldest first, with what was counted and what was sent."""
    return [asdict(call) for call in request.app.state.calls]


@control.post("/resume", status_code=204)
async def resume_calls(request: Request) -> None:
    """Resume the calls that `pause-after` has paused."""
    for call in request.app.state.calls:
        call.is_paused = False


@control.delete("/calls", status_code=204)
async def clear_calls(request: Request) -> None:
    """Delete the recorded calls."""
    request.app.state.calls.clear()


def create_model(tokens_per_second: float = 0) -> FastAPI:
    """Build the model; 0 tokens per second is as fast as possible."""
    app = FastAPI(title="Acme sandbox model", openapi_url=None)
    app.state.calls = deque[CallRecord](maxlen=_MAX_CALLS)
    app.state.tokens_per_second = tokens_per_second
    app.include_router(router)
    app.include_router(anthropic_api.router)
    app.include_router(gemini_api.router)
    app.include_router(control)
    for kind, handler in _ERROR_HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return app


def _api_error(request: Request, error: Exception) -> Response:
    known = error if isinstance(error, ApiError) else ApiError(500, str(error))
    return known.response(request.url.path)


def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return ApiError(status, f"The sandbox has nothing here: {error}").response(request.url.path)


def _invalid(request: Request, error: Exception) -> Response:
    problems = error.errors() if isinstance(error, ValidationError | RequestValidationError) else []
    where = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems)
    return ApiError(400, f"Invalid request: {where}").response(request.url.path)


def _failed(request: Request, __: Exception) -> Response:
    return ApiError(500, "The sandbox was asked to fail here.").response(request.url.path)


_ERROR_HANDLERS: dict[type[Exception], Callable[[Request, Exception], Response]] = {
    ApiError: _api_error,
    HTTPException: _http_error,
    ValidationError: _invalid,
    RequestValidationError: _invalid,
    ModelFailed: _failed,
}

"""An OpenAI-compatible model with no model behind it: /v1/responses, /v1/chat/completions, /v1/models."""

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

from sandbox import directives, scripted_replies
from sandbox.chat_completions_api import ChatAnswer
from sandbox.messages import Json, Reply, Turn
from sandbox.requests import ChatRequest, ResponsesRequest
from sandbox.responses_api import ResponsesAnswer
from sandbox.streaming import Answer, Call, Delivery, EventStream, Failed
from sandbox.tokens import Usage, usage_of

MODELS = ("sandbox-large", "sandbox-small")
_KINDS = {401: "invalid_request_error", 404: "invalid_request_error", 429: "requests"}
_CODES = {401: "invalid_api_key", 404: "not_found", 429: "rate_limit_exceeded"}
_REMEMBERED = 10_000


class ApiError(Exception):
    """An error in OpenAI's shape."""

    def __init__(self, status: int, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}

    def response(self) -> Response:
        """Write it down."""
        kind = _KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        error = {"message": self.message, "type": kind, "param": None, "code": _CODES.get(self.status)}
        return JSONResponse({"error": error}, self.status, self.headers | _request_id())


def _request_id() -> dict[str, str]:
    return {"x-request-id": f"req_{uuid4().hex}"}


def _authorised(request: Request) -> None:
    kind, _, key = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not key.strip():
        raise ApiError(401, "You did not provide an API key in the Authorization header.")
    if key.startswith("sk-invalid"):
        raise ApiError(401, "Incorrect API key provided.")


router = APIRouter(prefix="/v1", dependencies=[Depends(_authorised)])
control = APIRouter(prefix="/_sandbox")

JsonBody = Annotated[Json, Body()]
# OpenAI's clients say how often they have tried before: so a fault can pass without being remembered.
Attempt = Annotated[int, Header(alias="x-stainless-retry-count", ge=0)]


@router.post("/responses")
async def create_response(body: JsonBody, request: Request, attempt: Attempt = 0) -> Response:
    """Answer on the Responses wire."""
    asked = ResponsesRequest.model_validate(body)
    if body.get("previous_response_id") or body.get("conversation"):
        raise ApiError(400, "The sandbox keeps no conversations; send the whole input.")

    def answer(reply: Reply, usage: Usage) -> ResponsesAnswer:
        return ResponsesAnswer(body, reply, usage)

    return await _answer(request, attempt, asked.turn(), asked.stream, answer)


@router.post("/chat/completions")
async def create_chat_completion(body: JsonBody, request: Request, attempt: Attempt = 0) -> Response:
    """Answer on the Chat Completions wire."""
    asked = ChatRequest.model_validate(body)

    def answer(reply: Reply, usage: Usage) -> ChatAnswer:
        return ChatAnswer(asked.model, reply, usage, wants_usage=asked.wants_usage)

    return await _answer(request, attempt, asked.turn(), asked.stream, answer)


async def _answer(
    request: Request,
    attempt: int,
    turn: Turn,
    is_streamed: bool | None,
    answer_with: Callable[[Reply, Usage], Answer],
) -> Response:
    orders = directives.read(turn.question, turn.model)
    await _fail_if_told(orders, attempt)
    reply = scripted_replies.reply(turn, orders)
    answer = answer_with(reply, usage_of(turn, reply))
    call = Call(answer.id, request.url.path, turn.model, attempt, answer.usage, turn.question)
    request.app.state.calls.append(call)
    delivery = Delivery(answer, call, orders, request.app.state.tokens_per_second)
    response = EventStream(delivery.streamed()) if is_streamed else await delivery.whole()
    response.headers.update(_request_id())
    return response


async def _fail_if_told(orders: directives.Directives, attempt: int) -> None:
    if (status := orders.fault(attempt)) is not None:
        await asyncio.sleep(orders.delay)
        headers = {"Retry-After": f"{orders.retry_after:g}"} if status == 429 or status >= 500 else {}
        raise ApiError(status, f"The sandbox was asked to answer {status}.", headers=headers)


@router.get("/models")
async def list_models() -> Json:
    """Name the models; any other name is answered all the same."""
    return {"object": "list", "data": [_model(name) for name in MODELS]}


@router.get("/models/{name}")
async def show_model(name: str) -> Json:
    """Describe a model."""
    return _model(name)


def _model(name: str) -> Json:
    return {"id": name, "object": "model", "created": 1_767_225_600, "owned_by": "acme-sandbox"}


@control.get("/calls")
async def list_calls(request: Request) -> list[Json]:
    """List the latest calls, oldest first, with what was counted and what was sent."""
    return [asdict(call) for call in request.app.state.calls]


@control.delete("/calls", status_code=204)
async def forget_calls(request: Request) -> None:
    """Forget the calls."""
    request.app.state.calls.clear()


def create_model(tokens_per_second: float = 0) -> FastAPI:
    """Build the model; 0 tokens per second is as fast as possible."""
    app = FastAPI(title="Acme sandbox model", openapi_url=None)
    app.state.calls = deque[Call](maxlen=_REMEMBERED)
    app.state.tokens_per_second = tokens_per_second
    app.include_router(router)
    app.include_router(control)
    for kind, told in _TOLD.items():
        app.add_exception_handler(kind, told)
    return app


def _api_error(_: Request, error: Exception) -> Response:
    return error.response() if isinstance(error, ApiError) else ApiError(500, str(error)).response()


def _http_error(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return ApiError(status, f"The sandbox has nothing here: {error}").response()


def _invalid(_: Request, error: Exception) -> Response:
    problems = error.errors() if isinstance(error, ValidationError | RequestValidationError) else []
    where = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems)
    return ApiError(400, f"Invalid request: {where}").response()


def _failed(_: Request, __: Exception) -> Response:
    return ApiError(500, "The sandbox was asked to fail here.").response()


_TOLD: dict[type[Exception], Callable[[Request, Exception], Response]] = {
    ApiError: _api_error,
    HTTPException: _http_error,
    ValidationError: _invalid,
    RequestValidationError: _invalid,
    Failed: _failed,
}

"""Gemini's generateContent, streamed and whole (https://ai.google.dev/api/generate-content)."""

import json
from collections.abc import Iterator
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Body, Depends, Header, Request, Response

from sandbox import directives
from sandbox.answering import respond
from sandbox.gemini_requests import PROVIDER, FunctionCall, GenerateContentRequest
from sandbox.messages import Json, Reply
from sandbox.provider_errors import ApiError, gemini_error
from sandbox.signatures import sign
from sandbox.streaming import StreamEvent
from sandbox.tokens import Usage, tokenize


def _authenticate(request: Request) -> None:
    key = request.headers.get("x-goog-api-key") or request.query_params.get("key", "")
    if not key:
        raise ApiError(403, "Method doesn't allow unregistered callers. Please use API Key.")
    if key.startswith("sk-invalid"):
        raise ApiError(400, "API key not valid. Please pass a valid API key.", reason="API_KEY_INVALID")


router = APIRouter(prefix="/v1beta", dependencies=[Depends(_authenticate)])
Attempt = Annotated[int, Header(alias="x-stainless-retry-count", ge=0)]


@router.post("/models/{model}:generateContent")
async def generate_content(
    model: str, body: Annotated[Json, Body()], request: Request, attempt: Attempt = 0
) -> Response:
    """Answer whole."""
    return await _generate(model, body, request, attempt, is_streamed=False)


@router.post("/models/{model}:streamGenerateContent")
async def stream_generate_content(
    model: str, body: Annotated[Json, Body()], request: Request, attempt: Attempt = 0
) -> Response:
    """Answer as a stream of server-sent events."""
    if request.query_params.get("alt") != "sse":
        raise ApiError(400, "The sandbox streams with alt=sse alone.")
    return await _generate(model, body, request, attempt, is_streamed=True)


async def _generate(model: str, body: Json, request: Request, attempt: int, *, is_streamed: bool) -> Response:
    parsed = GenerateContentRequest.model_validate(body)
    model_request = parsed.to_model_request(model)
    orders = directives.parse(model_request.question, model)

    def build(reply: Reply, usage: Usage) -> GeneratedContent:
        return GeneratedContent(model, reply, usage, orders)

    return await respond(request, attempt, model_request, is_streamed, build)


class GeneratedContent:
    """A reply as one object, and as a stream of objects."""

    def __init__(self, model: str, reply: Reply, usage: Usage, orders: directives.Directives) -> None:
        self.id = uuid4().hex
        self.usage = usage
        self._model = model
        self._reply = reply
        self._orders = orders

    def events(self) -> Iterator[StreamEvent]:
        """Yield it as a stream of chunks; the last says how it ended."""
        if self._orders.blocked:
            yield StreamEvent(self._blocked())
            return
        for part, token in self._parts():
            yield StreamEvent(self._chunk([part]), token, is_text="text" in part and "thought" not in part)
        yield StreamEvent(self._chunk([], self._finish_reason()))

    def body(self) -> Json:
        """Return it whole."""
        if self._orders.blocked:
            return self._blocked()
        return self._chunk([part for part, _ in self._parts()], self._finish_reason())

    def error_event(self) -> Json:
        """Return the chunk of a failure in the middle of the stream."""
        return gemini_error(503, "The model is overloaded. Please try again later.")

    def encode(self, event: Json) -> bytes:
        """Write a chunk as server-sent event."""
        return f"data: {json.dumps(event, ensure_ascii=False)}\r\n\r\n".encode()

    def terminator(self) -> bytes:
        """Write nothing: the stream ends with its connection."""
        return b""

    def _parts(self) -> Iterator[tuple[Json, str]]:
        """Yield the parts, and the token in each: the last of a text is signed where there were thoughts."""
        for token in tokenize(self._reply.reasoning):
            yield {"text": token, "thought": True}, token
        for index, (name, arguments) in enumerate(self._reply.calls):
            call = FunctionCall(id=f"fc-{uuid4().hex[:12]}", name=name, args=_object(arguments))
            signature: Json = {"thoughtSignature": sign(PROVIDER, call.signed_text)} if index == 0 else {}
            yield {"functionCall": call.model_dump(exclude_none=True), **signature}, arguments
        tokens = [] if self._reply.is_refusal else tokenize(self._reply.text)
        for token in tokens[:-1]:
            yield {"text": token}, token
        for token in tokens[-1:]:
            signature = {"thoughtSignature": sign(PROVIDER, token)} if self._reply.reasoning else {}
            yield {"text": token, **signature}, token

    def _chunk(self, parts: list[Json], finish_reason: str | None = None) -> Json:
        candidate: Json = {"content": {"role": "model", "parts": [*parts]}, "index": 0}
        if finish_reason:
            candidate["finishReason"] = finish_reason
        return {"candidates": [candidate], **self._envelope(is_over=finish_reason is not None)}

    def _blocked(self) -> Json:
        return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, **self._envelope(is_over=False)}

    def _envelope(self, *, is_over: bool) -> Json:
        usage: Json = {"promptTokenCount": self.usage.input, "totalTokenCount": self.usage.input}
        if self.usage.cached:
            usage["cachedContentTokenCount"] = self.usage.cached
        if is_over:
            usage["candidatesTokenCount"] = self.usage.output - self.usage.reasoning
            usage["totalTokenCount"] = self.usage.total
            if self.usage.reasoning:
                usage["thoughtsTokenCount"] = self.usage.reasoning
        return {"usageMetadata": usage, "modelVersion": self._model, "responseId": self.id}

    def _finish_reason(self) -> str:
        if self._reply.is_refusal:
            return "SAFETY"
        return "MAX_TOKENS" if self._reply.is_cut else "STOP"


def _object(arguments: str) -> Json:
    try:
        value = json.loads(arguments)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}

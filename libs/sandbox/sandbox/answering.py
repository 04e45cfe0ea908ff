"""One answer of the model, whichever API was called: its faults, its record, its stream."""

import asyncio
from collections.abc import Callable

from fastapi import Request, Response

from sandbox import directives, scripted_replies
from sandbox.messages import Json, ModelRequest, Reply
from sandbox.provider_errors import ApiError, request_id
from sandbox.streaming import CallRecord, EventStream, ModelResponse, ResponseStream
from sandbox.tokens import Usage, count_usage

_CONTENT = {
    *("model", "input", "messages", "prompt", "instructions", "tools", "stream"),
    *("system", "contents", "systemInstruction"),
}


async def respond(
    request: Request,
    attempt: int,
    model_request: ModelRequest,
    is_streamed: bool | None,
    build_response: Callable[[Reply, Usage], ModelResponse],
) -> Response:
    """Answer, streamed or whole, with the faults that the question asks for."""
    orders = directives.parse(model_request.question, model_request.model)
    await fail_if_directed(orders, attempt)
    reply = scripted_replies.reply(model_request, orders)
    answer = build_response(reply, count_usage(model_request, reply))
    call = CallRecord(
        answer.id,
        request.url.path,
        model_request.model,
        attempt,
        answer.usage,
        model_request.question,
        parameters_of(await request.json()),
    )
    request.app.state.calls.append(call)
    stream = ResponseStream(answer, call, orders, request.app.state.tokens_per_second)
    response = EventStream(stream.stream()) if is_streamed else await stream.respond()
    response.headers.update(request_id())
    return response


async def fail_if_directed(orders: directives.Directives, attempt: int) -> None:
    """Raise the error that is asked for at this attempt."""
    if (status := orders.fault(attempt)) is not None:
        await asyncio.sleep(orders.delay)
        retry_after = orders.retry_after if status == 429 or status >= 500 else None
        raise ApiError(status, f"The sandbox was asked to answer {status}.", retry_after=retry_after)


def parameters_of(body: Json) -> Json:
    """Return what was sent beside the model, the conversation and the tools."""
    return {name: value for name, value in body.items() if name not in _CONTENT}

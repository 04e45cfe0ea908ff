"""The floor: no framework, no agent; what the model streams is passed on as it is."""

import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

CLIENT = httpx2.AsyncClient(
    base_url=os.environ["MODEL_URL"],
    headers={"Authorization": "Bearer sandbox"},
    # Connections are given up before the model does, which is after five seconds.
    limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2),
    timeout=60,
)


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Call the model, and pass on its response as it arrives."""
    if scope["path"] != "/chat":
        await start(send, 200)
        await send({"type": "http.response.body", "body": b"ok"})
        return
    request = json.loads(await body_of(receive))
    question = {"model": "sandbox-large", "input": request["message"], "stream": True}
    async with CLIENT.stream("POST", "/responses", json=question) as answer:
        await start(send, answer.status_code)
        async for part in answer.aiter_raw():
            await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


async def body_of(receive: Receive) -> bytes:
    """Read a request to its end."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message.get("more_body", False)
    return body


async def start(send: Send, status: int) -> None:
    """Begin an answer."""
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": status, "headers": headers})

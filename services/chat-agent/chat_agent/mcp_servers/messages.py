"""Reads JSON-RPC messages: the only one of a response, or those of a stream of server-sent events."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import orjson

from chat_agent.mcp_servers.errors import InvalidMcpResponse, McpCallFailed

Json = dict[str, Any]
# Of the messages in a stream before the response: progress, log lines and requests of the server.
MAX_MESSAGES = 1000
# Of an error, once the secrets in it are masked.
MAX_ERROR = 500
# How long to wait before a stream is read on, where the server does not say; it may not ask for less.
RETRY_SECONDS, MIN_RETRY_SECONDS = 1.0, 0.1


class MessageStream:
    """The messages that answer a request; a server may send the rest of them over another connection."""

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry_seconds = RETRY_SECONDS
        self._number = 0

    async def read(self, response: httpx2.Response) -> AsyncIterator[Json]:
        """Yield the messages of a connection; raises InvalidMcpResponse."""
        # The client limits responses.
        async for event in httpx2.EventSource(response, max_event_size=None):
            self.last_event_id = event.id
            if event.retry is not None:
                self.retry_seconds = max(event.retry / 1000, MIN_RETRY_SECONDS)
            # An event may only say from where to read on.
            if event.data:
                yield self._message(event.data)

    def _message(self, data: str) -> Json:
        self._number += 1
        if self._number > MAX_MESSAGES:
            raise InvalidMcpResponse(f"The MCP server sent more than {MAX_MESSAGES} messages.")
        return parse(data)


def is_stream(response: httpx2.Response) -> bool:
    """Return whether a response is a stream of messages, and not one; raises InvalidMcpResponse."""
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in {"application/json", "text/event-stream"}:
        raise InvalidMcpResponse("The MCP server's response is neither JSON nor an event stream.")
    return bool(media_type == "text/event-stream")


def reply_to(message: Json) -> Json | None:
    """Return what is answered to a message of the server: requests of it, except pings, are refused."""
    if not isinstance(method := message.get("method"), str) or message.get("id") is None:
        return None
    if method == "ping":
        return {"id": message["id"], "result": {}}
    return {
        "id": message["id"],
        "error": {"code": -32601, "message": f"This client has no {method[:100]!r}."},
    }


def is_response(message: Json, request_id: int) -> bool:
    """Return whether a message is the response to a request."""
    return "method" not in message and message.get("id") == request_id


def parse(data: bytes | str) -> Json:
    """Return a message; raises InvalidMcpResponse."""
    try:
        message = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise InvalidMcpResponse("The MCP server's response is not JSON.") from None
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise InvalidMcpResponse("The MCP server's response is not a JSON-RPC message.")
    return message


def result_of(message: Json, request_id: int) -> Json:
    """Return the result in a response; raises InvalidMcpResponse, McpCallFailed."""
    if isinstance(error := message.get("error"), dict):
        raise McpCallFailed(f"The MCP server answers: {error.get('message')}")
    if message.get("id") != request_id:
        raise InvalidMcpResponse("The MCP server answered another request.")
    result = message.get("result")
    if not isinstance(result, dict):
        raise InvalidMcpResponse("The MCP server's response has no result.")
    return result

"""Reads one JSON-RPC response: the only message, or one of a stream of server-sent events."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import orjson

from chat_agent.mcp_servers.errors import InvalidMcpResponse, McpCallFailed

Json = dict[str, Any]
# Of the messages in a stream before the response: progress and log lines.
MAX_MESSAGES = 1000
# Of an error, once the secrets in it are masked.
MAX_ERROR = 500


async def read_result(response: httpx2.Response, request_id: int) -> Json:
    """Return the result of a request; raises InvalidMcpResponse, McpCallFailed."""
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        message = parse(await response.aread())
    elif media_type == "text/event-stream":
        message = await from_stream(response, request_id)
    else:
        raise InvalidMcpResponse("The MCP server's response is neither JSON nor an event stream.")
    return result_of(message, request_id)


async def from_stream(response: httpx2.Response, request_id: int) -> Json:
    """Return the response in a stream; what else the server sends in it is not needed."""
    number = 0
    async for data in event_data(response):
        message = parse(data)
        if "method" not in message and message.get("id") == request_id:
            return message
        number += 1
        if number > MAX_MESSAGES:
            raise InvalidMcpResponse(f"The MCP server sent more than {MAX_MESSAGES} messages.")
    raise InvalidMcpResponse("The MCP server's stream ended without a response.")


async def event_data(response: httpx2.Response) -> AsyncIterator[str]:
    """Yield the data of each event that has some."""
    lines: list[str] = []
    async for line in response.aiter_lines():
        if line.startswith("data:"):
            lines.append(line[5:].removeprefix(" "))
        elif not line and lines:
            yield "\n".join(lines)
            lines = []
    if lines:
        yield "\n".join(lines)


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

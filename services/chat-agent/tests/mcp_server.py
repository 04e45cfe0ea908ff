"""MCP servers of the tests: one without sessions that is as bad as a test wants, and the SDK's own."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from mcp.server.mcpserver import Context, MCPServer
from starlette.types import ASGIApp, Receive, Scope, Send

Json = dict[str, Any]
ECHO = {
    "name": "echo",
    "description": "Repeat a text.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
    "annotations": {"readOnlyHint": True},
}
PAY = {
    "name": "pay",
    "description": "Pay money out.",
    "inputSchema": {"type": "object", "properties": {"amount": {"type": "integer"}}},
}


def text_result(text: str, **more: Any) -> Json:
    return {"resultType": "complete", "content": [{"type": "text", "text": text}], **more}


class StatelessServer:
    """Answers `server/discover`, `tools/list` and `tools/call` of 2026-07-28, and notes what it was sent."""

    def __init__(self) -> None:
        self.app = FastAPI()
        self.app.post("/mcp")(self.answer)
        self.reset()

    def reset(self) -> None:
        """Become a good server again."""
        self.tools: list[Json] = [dict(ECHO), dict(PAY)]
        self.requests: list[tuple[str, Json, dict[str, str]]] = []
        # How a call is answered, in place of the right way.
        self.mode = "json"

    def sent(self, method: str) -> list[tuple[Json, dict[str, str]]]:
        """Return parameters and headers of the requests of a method."""
        return [(params, headers) for name, params, headers in self.requests if name == method]

    async def answer(self, request: Request) -> Response:
        body = await request.json()
        method, params, id_ = body["method"], body.get("params", {}), body.get("id")
        headers = dict(request.headers)
        self.requests.append((method, params, headers))
        assert headers["mcp-method"] == method
        assert params["_meta"]["io.modelcontextprotocol/protocolVersion"] == headers["mcp-protocol-version"]
        if method == "server/discover":
            return result(id_, {"resultType": "complete", "supportedVersions": ["2026-07-28"]})
        if method == "tools/list":
            return self.list_tools(id_, params)
        assert headers["mcp-name"] == params["name"]
        return await self.call(id_, params)

    def list_tools(self, id_: int, params: Json) -> Response:
        if self.mode == "endless pages":
            number = int(params.get("cursor", 0))
            return result(id_, {"tools": [{**ECHO, "name": f"t{number}"}], "nextCursor": str(number + 1)})
        if self.mode == "same page":
            return result(id_, {"tools": [], "nextCursor": "again"})
        first, *rest = self.tools
        if "cursor" not in params and rest:
            return result(id_, {"resultType": "complete", "tools": [first], "nextCursor": "2"})
        return result(id_, {"resultType": "complete", "tools": rest or [first]})

    async def call(self, id_: int, params: Json) -> Response:
        said = text_result(f"{params['name']}: {json.dumps(params['arguments'])}")
        if self.mode == "hung":
            await asyncio.sleep(600)
        if self.mode == "headers":
            said = text_result(json.dumps(self.requests[-1][2]))
        answer = ANSWERS.get(self.mode)
        return answer(id_, said) if answer else result(id_, said)


def message(id_: int, value: Json) -> Json:
    return {"jsonrpc": "2.0", "id": id_, "result": value}


def result(id_: int, value: Json) -> JSONResponse:
    return JSONResponse(message(id_, value))


def event_stream(chunks: AsyncIterator[str]) -> Response:
    return StreamingResponse(chunks, media_type="text/event-stream")


def progress() -> Json:
    return {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}}


def stream(messages: list[Json]) -> Response:
    events = "".join(f"event: message\r\ndata: {json.dumps(one)}\r\n\r\n" for one in messages)
    return Response(f": hello\r\n\r\n{events}", media_type="text/event-stream")


async def endless() -> AsyncIterator[str]:
    while True:
        yield f"data: {json.dumps(progress())}\n\n"
        await asyncio.sleep(0)


async def silent() -> AsyncIterator[str]:
    while True:
        yield ": still here\n\n"
        await asyncio.sleep(0.05)


def error(id_: int, text: str) -> Json:
    return {"jsonrpc": "2.0", "id": id_, "error": {"code": -1, "message": text}}


Answer = Callable[[int, Json], Response]
METADATA = {"location": "http://169.254.169.254/"}
# How a call is answered by a good server, and by others.
ANSWERS: dict[str, Answer] = {
    "stream": lambda id_, said: stream([progress(), message(id_, said)]),
    "endless stream": lambda _id, _said: event_stream(endless()),
    "silent stream": lambda _id, _said: event_stream(silent()),
    "huge": lambda id_, _said: result(id_, text_result("x" * 6_000_000)),
    "long": lambda id_, _said: result(id_, text_result("x" * 100_000)),
    "wrong id": lambda _id, said: result(99, said),
    "wrong id in a stream": lambda _id, said: stream([message(99, said)]),
    "wrong type": lambda _id, _said: Response("<html>", media_type="text/html"),
    "no json": lambda _id, _said: Response("{", media_type="application/json"),
    "a list": lambda _id, _said: JSONResponse([1, 2]),
    "no result": lambda id_, _said: JSONResponse({"jsonrpc": "2.0", "id": id_, "result": "x"}),
    "odd content": lambda id_, _said: result(id_, {"content": [1, {"type": "image"}, "x"]}),
    "asks back": lambda id_, _said: result(id_, {"resultType": "input_required"}),
    "rpc error": lambda id_, _said: JSONResponse(error(id_, "Broken")),
    "tool error": lambda id_, _said: result(id_, text_result("No such file", isError=True)),
    "status": lambda _id, _said: Response(status_code=500),
    "unauthorized": lambda _id, _said: Response(status_code=401),
    "redirect": lambda _id, _said: Response(status_code=307, headers=METADATA),
    "compressed": lambda _id, _said: Response(b"x", headers={"content-encoding": "gzip"}),
}


def sdk_server() -> MCPServer:
    """Return a server of the SDK with a tool."""
    server: MCPServer = MCPServer("shop")

    @server.tool()
    async def add(a: int, b: int, context: Context[Any]) -> str:
        """Add two numbers."""
        return f"sum {a + b}"

    return server


class WithoutDiscovery:
    """A server as it was before 2026-07-28: it knows no `server/discover`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.methods: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.methods.append(headers.get("mcp-method", scope["method"]))
        if "mcp-method" in headers:
            await Response(status_code=400)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

"""The MCP servers of the SDK, also as they were before 2026-07-28."""

import asyncio
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.shared.message import ServerMessageMetadata
from mcp.types import (
    BlobResourceContents,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    PingRequest,
    ResourceLink,
)
from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

# JSON writes these as they are, and some would end a line elsewhere.
ODD_LETTERS = "a\u2028b\u2029c\u0085d"


def sdk_server() -> MCPServer:
    """Return a server of the SDK with a tool."""
    server: MCPServer = MCPServer("shop")

    @server.tool()
    async def add(a: int, b: int, context: Context[Any]) -> str:
        """Add two numbers."""
        return f"sum {a + b}"

    return server


class Consent(BaseModel):
    """What a tool would ask a person for."""

    is_given: bool


class SessionServer:
    """A server with tools that need the session, and notes which of them wait or were cancelled."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.cancelled: list[str] = []
        self.server: MCPServer = MCPServer("session")
        for tool in (self.disconnect, self.ping, self.consent, self.wait, self.letters, self.files):
            self.server.add_tool(tool, structured_output=False)

    async def disconnect(self, context: Context[Any]) -> str:
        """End the connection, and answer over the next one."""
        await context.close_sse_stream()
        return "answered later"

    async def ping(self, context: Context[Any]) -> str:
        """Answer when the client has."""
        of_this_call = ServerMessageMetadata(related_request_id=context.request_id)
        await context.session.send_request(PingRequest(), EmptyResult, metadata=of_this_call)
        return "the client is there"

    async def consent(self, context: Context[Any]) -> str:
        """Request the consent of a person."""
        return str(await context.elicit("Really?", Consent))

    async def wait(self, name: str) -> str:
        """Answer nothing."""
        self.waiting.append(name)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        return ""

    async def letters(self) -> str:
        """Answer with what ends a line in a text, but not in a stream."""
        return ODD_LETTERS

    async def files(self) -> list[Any]:
        """Answer with what is no text."""
        blob = BlobResourceContents(uri="file:///b.pdf", blob="AAAA", mime_type="application/pdf")
        return [
            ImageContent(data="AAAA", mime_type="image/png"),
            EmbeddedResource(resource=blob),
            ResourceLink(uri="file:///a.txt", name="a.txt", description="The terms."),
        ]


class StoredEvents(EventStore):
    """Events by their number, for streams that are read on."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    async def store_event(self, stream_id: str, message: Any) -> str:
        self.events.append((stream_id, message))
        return str(len(self.events))

    async def replay_events_after(self, last_event_id: str, send_callback: Any) -> str:
        number = int(last_event_id)
        stream_id, _ = self.events[number - 1]
        for id_, (stream, message) in enumerate(self.events[number:], number + 1):
            if stream == stream_id and message is not None:
                await send_callback(EventMessage(message, str(id_)))
        return stream_id


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

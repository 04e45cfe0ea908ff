"""The servers of a tenant: tools over HTTP, good and bad ones, and an MCP server. They count their calls."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from mcp.server.mcpserver import MCPServer
from starlette.types import ASGIApp
from testkit.live_server import serving

from scripts.chaos.kinds import AGENTS, http_tool

HUNG_SECONDS = 600
TOOLS = ("pay", "hang", "die")


class ToolServers:
    """What agents call, by the mark of the run: how often."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.http_url = self.mcp_url = ""

    @contextmanager
    def serving(self) -> Iterator["ToolServers"]:
        """Serve until the block ends."""
        with serving(self._http()) as self.http_url, serving(self._mcp()) as self.mcp_url:
            yield self

    @property
    def hosts(self) -> list[str]:
        """The hosts that the chat-agent has to be allowed to call."""
        return [url.removeprefix("http://") for url in (self.http_url, self.mcp_url)]

    async def register(self, http: httpx.AsyncClient) -> None:
        """Register them for a tenant, and publish the agents that use them."""
        for name in TOOLS:
            await put(http, f"tools/{name}", http_tool(self.http_url, name))
        await put(http, "mcp-servers/shop", {"url": f"{self.mcp_url}/mcp"})
        for name, members in AGENTS.items():
            definition = {"instructions": "You are an agent of this test.", **members}
            await put(http, f"agents/{name}", {"definition": definition})
            (await http.post(f"/api/v1/agents/{name}/publish", json={})).raise_for_status()

    def _http(self) -> FastAPI:
        app = FastAPI()
        for path, answer in {"pay": self._pay, "hang": self._hang, "die": self._die}.items():
            app.post(f"/{path}", response_model=None)(answer)
        return app

    async def _pay(self, body: dict[str, str]) -> dict[str, str]:
        self.calls[body["order"]] += 1
        return {"paid": body["order"]}

    async def _hang(self, body: dict[str, str]) -> None:
        self.calls[body["order"]] += 1
        await asyncio.sleep(HUNG_SECONDS)

    async def _die(self, body: dict[str, str]) -> StreamingResponse:
        self.calls[body["order"]] += 1
        headers = {"content-length": "1000"}
        return StreamingResponse(half_an_answer(), media_type="application/json", headers=headers)

    def _mcp(self) -> ASGIApp:
        server: MCPServer[Any] = MCPServer("shop", log_level="CRITICAL")

        @server.tool()
        async def deliver(order: str) -> str:
            """Deliver an order."""
            self.calls[order] += 1
            return f"delivered {order}"

        return server.streamable_http_app()


async def half_an_answer() -> AsyncIterator[bytes]:
    """Yield the beginning of an answer."""
    yield b'{"paid": '


async def put(http: httpx.AsyncClient, path: str, document: Mapping[str, Any]) -> None:
    """Store a document of the API; raises httpx.HTTPError."""
    (await http.put(f"/api/v1/{path}", json=document)).raise_for_status()

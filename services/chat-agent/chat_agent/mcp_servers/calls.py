"""Calls a tool of an MCP server for a run."""

from dataclasses import dataclass
from typing import Any

import orjson
from agents.tool_context import ToolContext
from mcp.shared.inbound import mcp_param_headers, x_mcp_header_map
from sqlalchemy import select

from chat_agent.agents.tool import MAX_OUTPUT, RunContext
from chat_agent.clients.retry import retry_transaction
from chat_agent.errors import ToolFailed
from chat_agent.mcp_servers.access import AuthorizedClient, McpAccess
from chat_agent.mcp_servers.checks import checked
from chat_agent.mcp_servers.client import STATELESS
from chat_agent.mcp_servers.errors import McpAccessForbidden, McpCallFailed
from chat_agent.mcp_servers.messages import MAX_ERROR, Json
from chat_agent.mcp_servers.registered import RegisteredServer
from chat_agent.mcp_servers.server_tools import ServerTool
from chat_agent.mcp_servers.tables import McpServer


class McpToolChanged(ToolFailed):
    """The tool is not as it was confirmed, or its server was deleted."""

    tool_error = "tool_changed"


@dataclass(frozen=True)
class McpToolCaller:
    """Calls one tool as it was when the run began."""

    access: McpAccess
    server: RegisteredServer
    tool: ServerTool

    async def __call__(self, context: ToolContext[RunContext], arguments: str) -> str:
        """Return the output of the tool; raises McpToolChanged, and what the client raises."""
        user_id = context.context.user_id
        server = await checked(self.access, await self._current(), user_id)
        if not self._is_confirmed(server):
            raise McpToolChanged(
                f"The tool {self.tool.name!r} of {server.name!r} has changed, and cannot be called until"
                " an admin of the tenant confirms it."
            )
        values = arguments_of(arguments)
        return await self.access.request(
            server, user_id, lambda authorized: self._answer(authorized, server, values)
        )

    async def _answer(self, authorized: AuthorizedClient, server: RegisteredServer, values: Json) -> str:
        """Return what a model reads of the answer to a call, without the secrets that were sent with it."""
        try:
            text = output_of(await self._call(authorized, server, values))
        except (McpCallFailed, McpAccessForbidden) as error:
            raise type(error)(authorized.mask.limited(error.detail, MAX_ERROR)) from None
        return authorized.mask.limited(text, MAX_OUTPUT)

    async def _call(self, authorized: AuthorizedClient, server: RegisteredServer, values: Json) -> Json:
        """Return the result of a call."""
        headers = mcp_param_headers(x_mcp_header_map(self.tool.input_schema), values)
        version = server.protocol or STATELESS
        return await authorized.client.call_tool(version, self.tool.name, values, headers)

    async def _current(self) -> RegisteredServer:
        """Return the server as it is registered now; raises McpToolChanged."""
        query = select(McpServer).where(McpServer.id == self.server.id)
        row = await retry_transaction(self.access.database, lambda session: session.scalar(query))
        if row is None:
            raise McpToolChanged(f"The MCP server {self.server.name!r} was deleted.")
        return RegisteredServer.of(row)

    def _is_confirmed(self, server: RegisteredServer) -> bool:
        """Return whether the tool that the model has read of is confirmed, and still the server's."""
        tool = server.offered.get(self.tool.name)
        return tool is not None and tool.digest == self.tool.digest


def arguments_of(text: str) -> Json:
    """Return the arguments of a call; raises ToolFailed."""
    try:
        values = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        raise ToolFailed("The arguments are not JSON.") from None
    if not isinstance(values, dict):
        raise ToolFailed("The arguments are not an object.")
    return values


def output_of(result: Json) -> str:
    """Return what a model reads of a result; raises McpCallFailed where the tool says that it failed."""
    content = result.get("content")
    blocks = content if isinstance(content, list) else []
    text = "\n".join(block_text(block) for block in blocks if isinstance(block, dict))
    if not text and result.get("structuredContent") is not None:
        text = orjson.dumps(result["structuredContent"]).decode()
    if result.get("isError") is True:
        raise McpCallFailed(text or "The tool failed.")
    return text


def block_text(block: dict[str, Any]) -> str:
    """Return a part of a result as text; of an image or a sound, that it is one."""
    match block:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "resource", "resource": {"text": str(text)}}:
            return text
        case {"type": "resource", "resource": {"uri": str(uri), **about}}:
            return f"[resource: {described(about.get('mimeType'), uri)}]"
        case {"type": "resource_link", "uri": str(uri)}:
            return described(block.get("title") or block.get("name"), uri, block.get("description"))
    return f"[{str(block.get('type'))[:40]}: {str(block.get('mimeType'))[:100]}]"


def described(*parts: object) -> str:
    """Return what is known of a resource, in one line."""
    return ", ".join(part for part in parts if isinstance(part, str) and part)

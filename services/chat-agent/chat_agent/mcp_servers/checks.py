"""Reads the list of a server's tools, and compares it with what was confirmed."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import cast, func, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.clients.retry import retry_transaction
from chat_agent.json_values import map_json
from chat_agent.mcp_servers.access import AuthorizedClient, McpAccess
from chat_agent.mcp_servers.errors import McpAccessForbidden, McpCallFailed
from chat_agent.mcp_servers.messages import MAX_ERROR, Json
from chat_agent.mcp_servers.registered import RegisteredServer
from chat_agent.mcp_servers.server_tools import ServerTool, digest_of_tools, read_tools
from chat_agent.mcp_servers.tables import McpServer
from chat_agent.tenant_secrets.masking import Mask

# A request that registers a server waits for this.
MAX_SECONDS = 10.0


async def read_server(
    access: McpAccess, server: RegisteredServer, user_id: str
) -> tuple[str, list[ServerTool]]:
    """Return the version of the protocol that a server speaks, and its tools.

    Raises McpServerUnavailable, McpAccessDenied, McpAccessForbidden, InvalidMcpResponse, McpCallFailed.
    """
    return await access.request(server, user_id, list_tools)


async def list_tools(authorized: AuthorizedClient) -> tuple[str, list[ServerTool]]:
    """Return what a client lists, without the secrets that were sent with it."""
    client = authorized.client
    seconds = min(client.seconds, MAX_SECONDS)
    try:
        protocol, tools = await replace(client, seconds=seconds).list_tools()
    except (McpCallFailed, McpAccessForbidden) as error:
        raise type(error)(authorized.mask.limited(error.detail, MAX_ERROR)) from None
    return protocol, read_tools([masked_tool(tool, authorized.mask) for tool in tools])


def masked_tool(tool: Json, mask: Mask) -> Json:
    """Return a tool of a server without the secrets that were sent to it."""
    try:
        masked: Json = map_json(tool, lambda value: mask(value) if isinstance(value, str) else value)
    except RecursionError:  # too deep to be stored: of it, only the name is
        return {**tool, "name": mask(str(tool.get("name")))}
    return masked


async def check(access: McpAccess, server: RegisteredServer, user_id: str) -> RegisteredServer:
    """Store whether the tools of a server are still those that were confirmed; return it as it is now."""
    protocol, tools = await read_server(access, server, user_id)
    confirmed = list(server.tools.values())
    tools = tools_for_everybody(server, tools)
    is_changed = digest_of_tools(tools) != digest_of_tools(confirmed)
    values = {
        "protocol": protocol,
        "checked_at": func.now(),
        "changed_tools": stored(tools) if is_changed else None,
    }
    # Whoever has confirmed another list, or given another address, meanwhile knows better.
    same = (
        cast(McpServer.tools, JSONB) == cast(stored(confirmed), JSONB),
        McpServer.config["url"].astext == server.config.url,
    )

    async def store(session: AsyncSession) -> McpServer | None:
        await session.execute(update(McpServer).where(McpServer.id == server.id, *same).values(values))
        return await session.scalar(select(McpServer).where(McpServer.id == server.id))

    row = await retry_transaction(access.database, store)
    return server if row is None else RegisteredServer.of(row)


def tools_for_everybody(server: RegisteredServer, tools: Sequence[ServerTool]) -> list[ServerTool]:
    """Return the tools of a list that was read for one person, and those that others may be offered."""
    if server.config.auth.type != "oauth":
        return list(tools)
    return list({**server.tools, **{tool.name: tool for tool in tools}}.values())


async def checked(access: McpAccess, server: RegisteredServer, user_id: str) -> RegisteredServer:
    """Return a server whose list of tools was read not too long ago."""
    is_due = server.is_check_due(datetime.now(UTC))
    return await check(access, server, user_id) if is_due else server


def stored(tools: Sequence[ServerTool]) -> list[dict[str, object]]:
    """Return tools as a row has them."""
    return [tool.model_dump(mode="json") for tool in tools]

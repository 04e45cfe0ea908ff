"""The tools of all MCP servers of a tenant, as they were read last; no server is called for it."""

from uuid import UUID

from sqlalchemy import case, cast, column, func, select, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.mcp_servers.server_tools import callable_name
from chat_agent.mcp_servers.tables import McpServer
from chat_agent.schemas import McpTool


async def list_tools(session: AsyncSession, tenant_id: UUID) -> list[McpTool]:
    """List the confirmed tools, by server and name; their long descriptions and schemas are not read."""
    tools = cast(McpServer.tools, JSONB)
    elements = func.jsonb_array_elements(tools).table_valued(column("value", JSONB)).lateral()
    tool = elements.c.value
    name, digest = tool["name"].astext, tool["digest"].astext
    same = func.jsonb_build_array(func.jsonb_build_object("name", name, "digest", digest))
    # None is stored as JSON.
    is_same_list = func.coalesce(func.jsonb_typeof(McpServer.changed_tools), "null") == "null"
    is_current = is_same_list | McpServer.changed_tools.op("@>")(same)
    is_unusable = tool["problem"].astext.is_not(None)
    state = case((is_unusable, "unusable"), (is_current, "confirmed"), else_="changed")
    query = select(McpServer.name, name, state).join_from(McpServer, elements, true())
    own = query.where(McpServer.tenant_id == tenant_id)
    rows = await session.execute(own.order_by(McpServer.name, name))
    return [
        McpTool(name=callable_name(server, one), server=server, server_tool=one, state=state)
        for server, one, state in rows
    ]

"""MCP servers of a tenant in the database."""

from collections.abc import Sequence
from uuid import UUID

from servicekit.auth.tokens import Principal
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent import audit
from chat_agent.mcp_servers.errors import McpServerInUse, McpServerNotFound, TooManyMcpServers
from chat_agent.mcp_servers.tables import McpServer

MAX_SERVERS = 50


def tenant_of(caller: Principal) -> UUID:
    """Return the tenant of a member."""
    assert caller.tenant_id  # noqa: S101  # the token of a member has one
    return caller.tenant_id


async def find_or_none(session: AsyncSession, caller: Principal, name: str) -> McpServer | None:
    """Find a server of the caller's tenant, if it exists."""
    own = select(McpServer).filter_by(tenant_id=caller.tenant_id, name=name)
    return (await session.scalars(own)).one_or_none()


async def find(session: AsyncSession, caller: Principal, name: str) -> McpServer:
    """Find a server of the caller's tenant; raises McpServerNotFound."""
    server = await find_or_none(session, caller, name)
    if server is None:
        raise McpServerNotFound(f"This tenant has no MCP server called {name!r}.")
    return server


async def list_all(session: AsyncSession, caller: Principal) -> Sequence[McpServer]:
    """List the servers of the caller's tenant, by name."""
    own = select(McpServer).filter_by(tenant_id=caller.tenant_id).order_by(McpServer.name)
    return (await session.scalars(own)).all()


async def check_number(session: AsyncSession, caller: Principal) -> None:
    """Raise TooManyMcpServers where the tenant may not have another."""
    own = select(func.count()).select_from(McpServer).where(McpServer.tenant_id == caller.tenant_id)
    if (await session.scalar(own) or 0) >= MAX_SERVERS:
        raise TooManyMcpServers


async def lock_tenant(session: AsyncSession, caller: Principal) -> None:
    """Lock the MCP servers of a tenant against other changes until the transaction ends."""
    await session.execute(
        text("select pg_advisory_xact_lock(hashtextextended(:id, 3))"), {"id": str(caller.tenant_id)}
    )


async def remove(session: AsyncSession, caller: Principal, name: str, agents: Sequence[str]) -> None:
    """Delete a server that none of the agents needs; raises McpServerNotFound, McpServerInUse."""
    server = await find(session, caller, name)
    if agents:
        raise McpServerInUse(f"These agents name the MCP server {name!r}: {', '.join(agents)}.")
    await session.delete(server)
    audit.record_action(session, caller, "chat_mcp_server_deleted", mcp_server=name)

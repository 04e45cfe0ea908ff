"""Registers a tenant's MCP servers, and confirms their tools; no transaction is open while one is called."""

from collections.abc import Collection
from datetime import UTC, datetime
from uuid import uuid4

from servicekit.auth.tokens import Principal
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent import audit
from chat_agent.clients.public_http import PRIVATE_HOSTS_HINT
from chat_agent.clients.supplied_urls import is_encrypted, url_problems
from chat_agent.mcp_servers import store
from chat_agent.mcp_servers.access import McpAccess
from chat_agent.mcp_servers.checks import check, read_server, stored, tools_for_everybody
from chat_agent.mcp_servers.definition import RESERVED_HEADERS, RESERVED_PREFIXES, OAuth, ServerConfig
from chat_agent.mcp_servers.errors import InvalidMcpServer, McpToolsOutdated
from chat_agent.mcp_servers.registered import RegisteredServer, tools_of
from chat_agent.mcp_servers.server_tools import ServerTool, digest_of_tools
from chat_agent.mcp_servers.tables import McpServer
from chat_agent.tenant_secrets.errors import SecretNotFound

# Of tools in the text of an error.
MAX_NAMES = 20


async def register(access: McpAccess, caller: Principal, name: str, config: ServerConfig) -> McpServer:
    """Store a server; the tools of a new one, or of one at another address, are confirmed as they are now.

    Raises InvalidMcpServer, TooManyMcpServers, and what the server's answers raise.
    """
    new = candidate(caller, name, config)
    await check_config(access, new)
    async with access.database.begin() as session:
        row = await store.find_or_none(session, caller, name)
    protocol: str | None = None
    tools: list[ServerTool] | None = None
    is_moved = row is None or row.config["url"] != config.url
    # What a server lists for persons who sign in is read when one of them confirms it.
    if is_moved and config.auth.type != "oauth":
        protocol, tools = await read_server(access, new, caller.user_id)
        check_policies(config, [tool.name for tool in tools])
    elif row is not None and not is_moved and row.protocol is not None:
        check_policies(config, [*tools_of(row.tools), *tools_of(row.changed_tools or [])])
    async with access.database.begin() as session:
        await store.lock_tenant(session, caller)
        row = await store.find_or_none(session, caller, name) or await new_row(session, caller, name)
        row.config = config.model_dump(mode="json")
        row.updated_at = datetime.now(UTC)
        if tools is not None:
            confirm_tools(row, protocol, tools)
        elif is_moved:
            row.protocol, row.tools, row.changed_tools = None, [], None
            row.checked_at = row.confirmed_at = None
        audit.record_action(session, caller, "chat_mcp_server_saved", mcp_server=name)
    return row


async def refresh(access: McpAccess, caller: Principal, name: str) -> McpServer:
    """Read the tools of a server now, and store how they differ from what was confirmed.

    Raises McpServerNotFound, and what the server's answers raise.
    """
    async with access.database.begin() as session:
        server = RegisteredServer.of(await store.find(session, caller, name))
    await check(access, server, caller.user_id)
    async with access.database.begin() as session:
        return await store.find(session, caller, name)


async def confirm(access: McpAccess, caller: Principal, name: str, digest: str | None) -> McpServer:
    """Confirm the tools of a server as they are now.

    Raises McpServerNotFound, McpToolsOutdated, InvalidMcpServer, and what the server's answers raise.
    """
    async with access.database.begin() as session:
        server = RegisteredServer.of(await store.find(session, caller, name))
    protocol, tools = await read_server(access, server, caller.user_id)
    check_policies(server.config, [tool.name for tool in tools])
    current = digest_of_tools(tools)
    compared = digest_of_tools(tools_for_everybody(server, tools))
    if digest not in {None, current, compared}:
        raise McpToolsOutdated
    async with access.database.begin() as session:
        row = await store.find(session, caller, name)
        if row.config["url"] != server.config.url:
            raise McpToolsOutdated
        confirm_tools(row, protocol, tools)
        audit.record_action(session, caller, "chat_mcp_tools_confirmed", mcp_server=name, digest=current)
    return row


def candidate(caller: Principal, name: str, config: ServerConfig) -> RegisteredServer:
    """Return a server that is not stored."""
    return RegisteredServer(uuid4(), store.tenant_of(caller), name, config, None, {}, None, None, None)


async def new_row(session: AsyncSession, caller: Principal, name: str) -> McpServer:
    """Add a server to the tenant; raises TooManyMcpServers."""
    await store.check_number(session, caller)
    now = datetime.now(UTC)
    row = McpServer(
        id=uuid4(),
        tenant_id=store.tenant_of(caller),
        name=name,
        tools=[],
        created_by=caller.user_id,
        created_at=now,
    )
    session.add(row)
    return row


def confirm_tools(row: McpServer, protocol: str | None, tools: list[ServerTool]) -> None:
    """Pin a list of tools."""
    row.protocol, row.tools, row.changed_tools = protocol, stored(tools), None
    row.checked_at = row.confirmed_at = datetime.now(UTC)


async def check_config(access: McpAccess, server: RegisteredServer) -> None:
    """Raise InvalidMcpServer for an address, headers or secrets with which a server cannot be called."""
    auth = server.config.auth
    for problem in url_problems(server.config.url, access.private_hosts):
        raise InvalidMcpServer(problem)
    if isinstance(auth, OAuth) and not is_encrypted(auth.redirect_uri, access.private_hosts):
        raise InvalidMcpServer(f"The redirect URI must begin with https://. {PRIVATE_HOSTS_HINT}")
    check_headers(server.config)
    try:
        await access.secret_values(server)
    except SecretNotFound as error:
        raise InvalidMcpServer(error.detail) from None


def check_policies(config: ServerConfig, names: Collection[str]) -> None:
    """Raise InvalidMcpServer for a policy of a tool that the server does not have, such as a typo."""
    if unknown := sorted(config.tools.keys() - set(names)):
        known = ", ".join(sorted(names)[:MAX_NAMES]) or "none"
        raise InvalidMcpServer(f"The MCP server has no tool called {unknown[0]!r}. There are: {known}.")


def check_headers(config: ServerConfig) -> None:
    """Raise InvalidMcpServer for headers that are not the tenant's to set, or that come twice."""
    names = [name.lower() for name in config.headers]
    reserved = {"authorization"} if config.auth.type != "none" else set()
    for name in names:
        if name in RESERVED_HEADERS | reserved or name.startswith(RESERVED_PREFIXES):
            raise InvalidMcpServer(f"The header {name!r} cannot be set.")
        if names.count(name) > 1:
            raise InvalidMcpServer(f"The header {name!r} is named twice.")

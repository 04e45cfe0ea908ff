"""The HTTP routes of MCP servers."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, status
from servicekit.auth.dependencies import require
from servicekit.auth.tokens import Principal
from servicekit.database import Session
from servicekit.schemas import Page

from chat_agent.agent_definitions import store as agents
from chat_agent.api.dependencies import ManagerDep
from chat_agent.mcp_servers import registration, schemas, store
from chat_agent.mcp_servers.definition import ServerConfig, ServerName

Author = Annotated[Principal, require("agents:manage")]
Name = Annotated[ServerName, Path(description="The name of an MCP server of the tenant.")]
Confirmation = Annotated[schemas.Confirmation, Body(default_factory=schemas.Confirmation)]

router = APIRouter(prefix="/api/v1/mcp-servers", tags=["mcp servers"])


@router.get("", response_model=Page[schemas.ServerSummary])
async def list_mcp_servers(caller: Author, session: Session) -> Page[schemas.ServerSummary]:
    """List the MCP servers of the tenant."""
    rows = await store.list_all(session, caller)
    return Page(items=[schemas.ServerSummary.summarize(row) for row in rows])


@router.get("/{name}", response_model=schemas.ServerDetail)
async def get_mcp_server(name: Name, caller: Author, session: Session) -> schemas.ServerDetail:
    """Read an MCP server with its tools, and how they differ from what was confirmed."""
    return schemas.ServerDetail.describe(await store.find(session, caller, name))


@router.put("/{name}", response_model=schemas.ServerDetail)
async def save_mcp_server(
    name: Name, config: ServerConfig, caller: Author, manager: ManagerDep
) -> schemas.ServerDetail:
    """Register an MCP server, whose tools are confirmed as they are now, or change how it is called."""
    return schemas.ServerDetail.describe(await registration.register(manager.mcp, caller, name, config))


@router.delete("/{name}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_mcp_server(name: Name, caller: Author, session: Session) -> None:
    """Delete an MCP server that no published agent names."""
    await agents.lock_tenant(session, caller)
    users = await agents.naming_mcp_server(session, store.tenant_of(caller), name)
    await store.remove(session, caller, name, users)


@router.post("/{name}/refresh", response_model=schemas.ServerDetail)
async def refresh_mcp_tools(name: Name, caller: Author, manager: ManagerDep) -> schemas.ServerDetail:
    """Read the tools of an MCP server now, and confirm none of them."""
    return schemas.ServerDetail.describe(await registration.refresh(manager.mcp, caller, name))


@router.post("/{name}/confirm", response_model=schemas.ServerDetail)
async def confirm_mcp_tools(
    name: Name, confirmation: Confirmation, caller: Author, manager: ManagerDep
) -> schemas.ServerDetail:
    """Read the tools of an MCP server, and confirm them as they are now."""
    row = await registration.confirm(manager.mcp, caller, name, confirmation.digest)
    return schemas.ServerDetail.describe(row)

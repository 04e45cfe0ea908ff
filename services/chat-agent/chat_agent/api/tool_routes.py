"""The HTTP routes of tools: a list of all, and the HTTP tools of a tenant."""

from typing import Annotated

from fastapi import APIRouter, Path, status
from servicekit.auth.dependencies import require
from servicekit.auth.tokens import Principal
from servicekit.database import Session

from chat_agent.agent_definitions.store import check_tool_unused, lock_tenant
from chat_agent.agents.tools import TOOLS
from chat_agent.api.dependencies import ManagerDep, ToolReader
from chat_agent.http_tools import store
from chat_agent.http_tools.definition import HttpTool, HttpToolName, ToolDocument
from chat_agent.http_tools.schemas import Tool
from chat_agent.http_tools.tables import StoredTool
from chat_agent.http_tools.validation import tool_of
from chat_agent.mcp_servers import tool_list
from chat_agent.mcp_servers.store import tenant_of
from chat_agent.schemas import MAX_CHAT_BODY, OwnTool, Tools

Author = Annotated[Principal, require("agents:manage")]
Name = Annotated[HttpToolName, Path(description="The name of a tool of the tenant.")]

# Of an OpenAPI document.
router = APIRouter(prefix="/api/v1/tools", tags=["agents"], max_body_size=MAX_CHAT_BODY)


@router.get("", response_model=Tools)
async def list_tools(caller: ToolReader, session: Session) -> Tools:
    """List the tools of the service that agents may use, and those of the tenant."""
    categories = {category: [tool.name for tool in tools] for category, tools in TOOLS.items()}
    names = [name for tools in categories.values() for name in tools]
    own = [to_own_tool(row) for row in await store.current(session, caller.tenant_id)]
    mcp = await tool_list.list_tools(session, tenant_of(caller))
    return Tools(
        total_tools=len(names), tool_names=names, categories=categories, own_tools=own, mcp_tools=mcp
    )


@router.get("/{name}", response_model=Tool)
async def get_tool(name: Name, caller: Author, session: Session) -> Tool:
    """Read a tool of the tenant."""
    return to_schema(await store.find(session, caller, name))


@router.put("/{name}", response_model=Tool)
async def save_tool(
    name: Name, document: ToolDocument, caller: Author, session: Session, manager: ManagerDep
) -> Tool:
    """Create a tool, or store a new version; agents keep the version that they were saved with."""
    tool = tool_of(document, manager.settings.tool_private_hosts)
    await lock_tenant(session, caller)
    await store.check_secrets(session, caller, tool)
    return to_schema(await store.save(session, caller, name, tool))


@router.delete("/{name}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_tool(name: Name, caller: Author, session: Session) -> None:
    """Delete a tool that no agent uses; runs that began with it go on."""
    await lock_tenant(session, caller)
    await check_tool_unused(session, caller, name)
    await store.remove(session, caller, name)


def to_own_tool(row: StoredTool) -> OwnTool:
    """Describe a tool in the list of all."""
    tool = HttpTool.model_validate(row.document)
    return OwnTool(name=row.name, description=tool.description, version=row.number, trusted=tool.trusted)


def to_schema(row: StoredTool) -> Tool:
    """Describe a tool."""
    return Tool(
        name=row.name,
        version=row.number,
        digest=row.digest,
        created_by=row.created_by,
        created_at=row.created_at,
        definition=row.document,
        model_schema=HttpTool.model_validate(row.document).model_schema,
    )

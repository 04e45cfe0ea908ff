"""Tools of a tenant in the database: each change is a version."""

from collections.abc import Sequence
from uuid import UUID, uuid4

from servicekit.auth.tokens import Principal
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent import audit
from chat_agent.agents.tools import TOOLS
from chat_agent.documents import DefinitionProblem
from chat_agent.http_tools.audit import ToolAuditAction
from chat_agent.http_tools.definition import HttpTool
from chat_agent.http_tools.errors import InvalidTool, ToolAlreadyExists, ToolNotFound, TooManyTools
from chat_agent.http_tools.tables import StoredTool
from chat_agent.tenant_secrets import store as secrets
from chat_agent.tenant_secrets.schemas import SecretReference

MAX_TOOLS = 200
# So begin the names of tools that are agents.
AGENT_PREFIXES = ("ask_", "transfer_to_")


async def current(session: AsyncSession, tenant_id: UUID | None) -> Sequence[StoredTool]:
    """List the tools of a tenant by name."""
    query = select(StoredTool).filter_by(tenant_id=tenant_id, replaced_at=None).order_by(StoredTool.name)
    return (await session.scalars(query.limit(MAX_TOOLS))).all()


async def find(session: AsyncSession, caller: Principal, name: str) -> StoredTool:
    """Find a tool of the caller's tenant; raises ToolNotFound."""
    own = select(StoredTool).filter_by(tenant_id=caller.tenant_id, name=name, replaced_at=None)
    tool = (await session.scalars(own)).one_or_none()
    if tool is None:
        raise ToolNotFound(f"This tenant has no tool of its own called {name!r}.")
    return tool


async def save(session: AsyncSession, caller: Principal, name: str, tool: HttpTool) -> StoredTool:
    """Create a tool, or store a new version of it; raises ToolAlreadyExists, TooManyTools."""
    if any(name == one.name for those in TOOLS.values() for one in those):
        raise ToolAlreadyExists(f"There is a tool of the service called {name!r}. Choose another name.")
    if name.startswith(AGENT_PREFIXES):
        raise ToolAlreadyExists(f"Names that begin with {' or '.join(AGENT_PREFIXES)} are those of agents.")
    tools = {one.name: one for one in await current(session, caller.tenant_id)}
    before = tools.get(name)
    if before is not None and before.digest == tool.digest:
        return before
    if before is None and len(tools) >= MAX_TOOLS:
        raise TooManyTools
    if before is not None:
        before.replaced_at = func.now()
        await session.flush()
    return await insert(session, caller, name, tool)


async def check_secrets(session: AsyncSession, caller: Principal, tool: HttpTool) -> None:
    """Raise InvalidTool where the tool names a secret that the tenant does not have."""
    assert caller.tenant_id  # noqa: S101  # the token of a member has one
    known = {one.name for one in await secrets.find(session, caller.tenant_id)} if tool.secrets else set()
    missing = [
        DefinitionProblem(path=path, message=f"This tenant has no secret called {value.secret!r}.")
        for path, value in tool.values.items()
        if isinstance(value, SecretReference) and value.secret not in known
    ]
    if missing:
        raise InvalidTool(missing)


async def insert(session: AsyncSession, caller: Principal, name: str, tool: HttpTool) -> StoredTool:
    """Store the next version of a tool."""
    assert caller.tenant_id  # noqa: S101  # the token of a member has one
    newest = select(func.max(StoredTool.number)).filter_by(tenant_id=caller.tenant_id, name=name)
    version = StoredTool(
        id=uuid4(),
        tenant_id=caller.tenant_id,
        name=name,
        number=(await session.scalar(newest) or 0) + 1,
        document=tool.stored(),
        digest=tool.digest,
        created_by=caller.subject,
    )
    session.add(version)
    await session.flush()
    audit.record_action(
        session, caller, ToolAuditAction.SAVED, tool=name, version=version.number, digest=version.digest
    )
    return version


async def remove(session: AsyncSession, caller: Principal, name: str) -> None:
    """Delete a tool; raises ToolNotFound."""
    tool = await find(session, caller, name)
    tool.replaced_at = func.now()
    audit.record_action(session, caller, ToolAuditAction.DELETED, tool=name)

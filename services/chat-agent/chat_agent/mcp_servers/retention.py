"""Deletes MCP servers of purged tenants; exports and deletes sign-ins of people, with their tokens."""

from collections.abc import AsyncIterator
from typing import Any

from servicekit import erasure
from servicekit.database import Database
from servicekit.erasure import deleted_users
from servicekit.retention import RetentionRule
from sqlalchemy import Text, cast, delete, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.mcp_servers.grants import ATTEMPT, CLIENT, GRANT
from chat_agent.mcp_servers.schemas import ExportedSignIn
from chat_agent.mcp_servers.tables import McpServer, McpSignIn
from chat_agent.models import Base
from chat_agent.tenant_secrets.tables import StoredSecret


def mcp_rules() -> list[RetentionRule]:
    """Return what is deleted when its time is over; secrets go when what they belong to is gone."""
    tables = Base.metadata.tables
    person = exists().where(cast(McpSignIn.id, Text) == StoredSecret.name)
    server = exists().where(cast(McpServer.id, Text) == StoredSecret.name)
    orphans = (StoredSecret.kind.in_([GRANT, ATTEMPT]) & ~person) | ((StoredSecret.kind == CLIENT) & ~server)
    return [
        (tables["mcp_servers"], McpServer.tenant_id.in_(erasure.purgeable_tenants())),
        (tables["mcp_sign_ins"], McpSignIn.user_id.in_(select(deleted_users.c.user_id))),
        (tables["tenant_secrets"], orphans),
    ]


async def forget(session: AsyncSession, tenant_id: object, user_id: str) -> None:
    """Delete the sign-ins of a person or an end user in a tenant, with their tokens."""
    own = (McpSignIn.tenant_id == tenant_id) & (McpSignIn.user_id == user_id)
    ids = select(cast(McpSignIn.id, Text)).where(own)
    tokens = StoredSecret.kind.in_([GRANT, ATTEMPT]) & StoredSecret.name.in_(ids)
    await session.execute(delete(StoredSecret).where(StoredSecret.tenant_id == tenant_id, tokens))
    await session.execute(delete(McpSignIn).where(own))


async def export(database: Database, tenant_id: object, user_id: str) -> AsyncIterator[dict[str, Any]]:
    """Yield for which servers a person has signed in, without tokens and what could complete a sign-in."""
    columns = (McpServer.name.label("server"), McpSignIn.state, McpSignIn.created_at, McpSignIn.updated_at)
    own = (McpSignIn.tenant_id == tenant_id) & (McpSignIn.user_id == user_id)
    query = select(*columns).join(McpServer, McpServer.id == McpSignIn.server_id).where(own)
    async with database.begin() as session:
        rows = (await session.execute(query.order_by(McpSignIn.created_at))).all()
    for row in rows:
        sign_in = ExportedSignIn.model_validate(row, from_attributes=True)
        yield {"type": "mcp_sign_in", **sign_in.model_dump(mode="json")}

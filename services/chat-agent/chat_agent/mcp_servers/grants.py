"""Sign-ins of persons as they are stored; their tokens are secrets of the tenant, by the id of the row."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID, uuid4

from pydantic import BaseModel, SecretStr
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.mcp_servers.oauth_client import Grant
from chat_agent.mcp_servers.oauth_http import ClientRefused, GrantRefused
from chat_agent.mcp_servers.registered import RegisteredServer
from chat_agent.mcp_servers.tables import McpSignIn
from chat_agent.tenant_secrets import store as secrets
from chat_agent.tenant_secrets.errors import SecretNotFound
from chat_agent.tenant_secrets.store import Keys

# Kinds of secrets.
GRANT, ATTEMPT, CLIENT = "mcp_grant", "mcp_attempt", "mcp_client"
T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class Grants:
    """Reads and writes what persons have granted, and what else a sign-in needs."""

    keys: Keys

    async def find(
        self, session: AsyncSession, server: RegisteredServer, row: McpSignIn | None
    ) -> Grant | None:
        """Return the grant of a row; one for another address is none: its token must not go there."""
        if row is None or row.state != "connected":
            return None
        grant = await self.read(session, server.tenant_id, GRANT, str(row.id), Grant)
        return grant if grant and grant.resource == server.config.url else None

    async def store(self, session: AsyncSession, row: McpSignIn, grant: Grant) -> None:
        """Store what a person has granted."""
        row.state, row.updated_at = "connected", datetime.now(UTC)
        await self.write(session, row.tenant_id, GRANT, str(row.id), grant)

    async def read(
        self, session: AsyncSession, tenant_id: UUID, kind: str, name: str, model: type[T]
    ) -> T | None:
        """Return a value that is stored encrypted."""
        try:
            stored = await secrets.read(session, self.keys, tenant_id, name, kind=kind)
        except SecretNotFound:
            return None
        return model.model_validate_json(stored.get_secret_value())

    async def write(
        self, session: AsyncSession, tenant_id: UUID, kind: str, name: str, value: BaseModel
    ) -> None:
        """Store a value encrypted."""
        sealed = SecretStr(value.model_dump_json())
        await secrets.write(session, self.keys, tenant_id, name, sealed, updated_by="", kind=kind)


async def find(
    session: AsyncSession, server: RegisteredServer, user_id: str, *, lock: bool = False
) -> McpSignIn | None:
    """Find the sign-in of a person for a server."""
    own = select(McpSignIn).filter_by(server_id=server.id, user_id=user_id)
    return (await session.scalars(own.with_for_update() if lock else own)).one_or_none()


async def find_or_create(session: AsyncSession, server: RegisteredServer, user_id: str) -> McpSignIn:
    """Return the sign-in of a person for a server, locked; one that never was is made."""
    new = insert(McpSignIn).values(
        id=uuid4(), tenant_id=server.tenant_id, server_id=server.id, user_id=user_id
    )
    await session.execute(new.on_conflict_do_nothing())
    row = await find(session, server, user_id, lock=True)
    assert row is not None  # noqa: S101  # inserted above, and locked since
    return row


async def forget_client(session: AsyncSession, server: RegisteredServer, refusal: GrantRefused) -> None:
    """Delete a registered client that is refused: the next sign-in registers another."""
    if isinstance(refusal, ClientRefused):
        await secrets.remove(session, server.tenant_id, str(server.id), kind=CLIENT)

"""A registered server as runs and requests use it, read from its row."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Self
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.mcp_servers.definition import OAuth, ServerConfig
from chat_agent.mcp_servers.server_tools import ServerTool
from chat_agent.mcp_servers.tables import McpServer

Tools = Mapping[str, ServerTool]


@dataclass(frozen=True)
class RegisteredServer:
    """An MCP server with the tools that were confirmed."""

    id: UUID
    tenant_id: UUID
    name: str
    config: ServerConfig
    protocol: str | None
    tools: Tools
    # As they were read last, where that is not what was confirmed.
    changed_tools: Tools | None
    checked_at: datetime | None
    confirmed_at: datetime | None

    @classmethod
    def of(cls, row: McpServer) -> Self:
        """Return the server of a row."""
        return cls(
            row.id,
            row.tenant_id,
            row.name,
            ServerConfig.model_validate(row.config),
            row.protocol,
            tools_of(row.tools),
            None if row.changed_tools is None else tools_of(row.changed_tools),
            row.checked_at,
            row.confirmed_at,
        )

    @property
    def state(self) -> Literal["unconfirmed", "confirmed", "changed"]:
        """Where its list of tools stands."""
        if self.confirmed_at is None:
            return "unconfirmed"
        return "confirmed" if self.changed_tools is None else "changed"

    @property
    def has_sign_in(self) -> bool:
        """Whether each person signs in for it."""
        return isinstance(self.config.auth, OAuth)

    @property
    def offered(self) -> Tools:
        """The tools that agents may call: those that are as they were confirmed."""
        return {name: tool for name, tool in self.tools.items() if self.is_unchanged(tool)}

    def is_unchanged(self, tool: ServerTool) -> bool:
        """Return whether a confirmed tool is usable, and was the same when the list was read last."""
        current = self.tools if self.changed_tools is None else self.changed_tools
        return tool.problem is None and tool.name in current and current[tool.name].digest == tool.digest

    def is_check_due(self, now: datetime) -> bool:
        """Return whether the list of tools is to be read before the next call."""
        age = timedelta(seconds=self.config.check_after_seconds)
        return self.checked_at is None or self.checked_at + age <= now


def tools_of(stored: Iterable[object]) -> Tools:
    """Return stored tools by the server's names for them."""
    tools = [ServerTool.model_validate(one) for one in stored]
    return {tool.name: tool for tool in tools}


async def load_servers(
    session: AsyncSession, tenant_id: UUID, names: Collection[str]
) -> dict[str, RegisteredServer]:
    """Return the servers of these names; reads nothing where there is none."""
    if not names:
        return {}
    query = select(McpServer).where(McpServer.tenant_id == tenant_id, McpServer.name.in_(sorted(names)))
    return {row.name: RegisteredServer.of(row) for row in await session.scalars(query)}

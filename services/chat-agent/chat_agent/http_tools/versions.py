"""The versions of tools, which never change: those that runs need, and those that may be named."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from servicekit.database import Database
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.http_tools.definition import HttpTool
from chat_agent.http_tools.tables import StoredTool

# How many a process remembers.
MAX_REMEMBERED = 1000


class ToolVersion(NamedTuple):
    """A version of a tool of the tenant."""

    digest: str
    # Always, or for some arguments.
    needs_approval: bool


class ToolVersions:
    """Reads the versions that runs need, each once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._remembered: dict[tuple[UUID, str], HttpTool] = {}

    async def load(self, tenant_id: UUID, digests: Collection[str]) -> dict[str, HttpTool]:
        """Return tools by digest; one that is there no more is left out."""
        # Before anything is awaited: others may use up the room meanwhile.
        loaded = {one: tool for one in digests if (tool := self._remembered.get((tenant_id, one)))}
        if missing := [digest for digest in digests if digest not in loaded]:
            query = select(StoredTool).filter_by(tenant_id=tenant_id).where(StoredTool.digest.in_(missing))
            async with self._database.begin() as session:
                rows = (await session.scalars(query)).all()
            loaded |= {row.digest: HttpTool.model_validate(row.document) for row in rows}
            self._remembered |= {
                (tenant_id, digest): loaded[digest] for digest in missing if digest in loaded
            }
            while len(self._remembered) > MAX_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
        return loaded


async def by_name(session: AsyncSession, tenant_id: UUID) -> Mapping[str, Sequence[ToolVersion]]:
    """Return the versions of a tenant's tools that are not deleted, the newest first."""
    # Documents are large; of them only this is read.
    approval = func.coalesce(StoredTool.document["approval"].astext, "never")
    query = select(StoredTool.name, StoredTool.digest, approval != "never", StoredTool.replaced_at.is_(None))
    of_tenant = query.where(StoredTool.tenant_id == tenant_id).order_by(StoredTool.number.desc())
    rows = (await session.execute(of_tenant)).all()
    current = sorted({name for name, _, _, is_newest in rows if is_newest})
    versions: dict[str, list[ToolVersion]] = {name: [] for name in current}
    for name, digest, may_ask, _ in rows:
        if name in versions:
            versions[name].append(ToolVersion(digest, may_ask))
    return versions


async def newest(session: AsyncSession, tenant_id: UUID, names: Collection[str]) -> dict[str, str]:
    """Return the digests of the newest versions of tools, by name."""
    current = select(StoredTool.name, StoredTool.digest).where(
        StoredTool.tenant_id == tenant_id, StoredTool.replaced_at.is_(None), StoredTool.name.in_(names)
    )
    return {row.name: row.digest for row in await session.execute(current)}

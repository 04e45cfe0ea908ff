"""Agents of a tenant in the database: drafts, versions, releases."""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID, uuid4

from servicekit.auth.tokens import Principal
from servicekit.schemas import encode_cursor
from sqlalchemy import Select, delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent import audit
from chat_agent.agent_definitions.audit import AuditAction
from chat_agent.agent_definitions.definition import AgentDefinition
from chat_agent.agent_definitions.errors import (
    AgentAlreadyExists,
    AgentInUse,
    AgentVersionNotFound,
    NoEarlierVersion,
    ToolInUse,
    TooManyAgents,
)
from chat_agent.agent_definitions.own_tools import pinned
from chat_agent.agent_definitions.schemas import MAX_AGENTS
from chat_agent.agent_definitions.tables import Release, StoredAgent, StoredVersion
from chat_agent.agents import AGENTS
from chat_agent.errors import AgentNotFound

STABLE, CANARY = "stable", "canary"


class Answering(NamedTuple):
    """A version that answers, and for how many of a hundred conversations."""

    name: str
    label: str
    percentage: int
    number: int
    digest: str
    published_at: datetime
    definition: AgentDefinition


async def lock_tenant(session: AsyncSession, caller: Principal) -> None:
    """Lock the agents of a tenant against other changes until the transaction ends."""
    await session.execute(
        text("select pg_advisory_xact_lock(hashtextextended(:id, 1))"), {"id": str(caller.tenant_id)}
    )


async def find(session: AsyncSession, caller: Principal, name: str) -> StoredAgent:
    """Find an agent of the caller's tenant; raises AgentNotFound."""
    own = select(StoredAgent).filter_by(tenant_id=caller.tenant_id, name=name, deleted_at=None)
    agent = (await session.scalars(own)).one_or_none()
    if agent is None:
        raise AgentNotFound(f"This tenant has no agent of its own called {name!r}.")
    return agent


async def check_name(session: AsyncSession, tenant_id: UUID | None, name: str) -> None:
    """Raise AgentAlreadyExists for the name of an agent of the service, unless the tenant had it before."""
    if name in AGENTS and (tenant_id, name) not in await reserved_names(session):
        raise AgentAlreadyExists(f"There is an agent of the service called {name!r}. Choose another name.")


async def reserved_names(session: AsyncSession) -> frozenset[tuple[UUID, str]]:
    """Return the names of agents of the service that tenants had before, each with the tenant."""
    query = select(StoredAgent.tenant_id, StoredAgent.name)
    rows = await session.execute(
        query.where(StoredAgent.name.in_([*AGENTS]), StoredAgent.deleted_at.is_(None))
    )
    return frozenset((tenant_id, name) for tenant_id, name in rows)


async def find_version(session: AsyncSession, agent: StoredAgent, number: int) -> StoredVersion:
    """Find a version of an agent; raises AgentVersionNotFound."""
    version = (await session.scalars(versions_of(agent).filter_by(number=number))).one_or_none()
    if version is None:
        raise AgentVersionNotFound(f"The agent {agent.name!r} has no version {number}.")
    return version


def versions_of(agent: StoredAgent) -> Select[StoredVersion]:
    """Select the versions of an agent, the newest first."""
    return select(StoredVersion).filter_by(agent_id=agent.id).order_by(StoredVersion.number.desc())


async def list_versions(
    session: AsyncSession, agent: StoredAgent, before: int | None, limit: int
) -> tuple[Sequence[StoredVersion], str | None]:
    """Return a page of versions, the newest first, and the cursor of the next."""
    query = versions_of(agent).limit(limit + 1)
    if before is not None:
        query = query.where(StoredVersion.number < before)
    rows = (await session.scalars(query)).all()
    more = len(rows) > limit
    return rows[:limit], encode_cursor(rows[limit - 1].number) if more else None


async def releases_of(session: AsyncSession, agent: StoredAgent) -> dict[str, tuple[Release, StoredVersion]]:
    """Return the versions that answer, by label."""
    query = select(Release, StoredVersion).join(StoredVersion, StoredVersion.id == Release.version_id)
    rows = await session.execute(query.where(Release.agent_id == agent.id))
    return {release.label: (release, version) for release, version in rows}


async def answering(
    session: AsyncSession, tenant_id: UUID, names: Sequence[str] | None = None
) -> list[Answering]:
    """List the versions that answer in a tenant, of these names or of all."""
    query = (
        select(StoredAgent.name, Release.label, Release.percentage, StoredVersion)
        .join(Release, Release.agent_id == StoredAgent.id)
        .join(StoredVersion, StoredVersion.id == Release.version_id)
        .where(StoredAgent.tenant_id == tenant_id, StoredAgent.deleted_at.is_(None))
        .order_by(StoredAgent.name, Release.label.desc())
    )
    if names is not None:
        query = query.where(StoredAgent.name.in_(names))
    return [
        Answering(
            name,
            label,
            share,
            version.number,
            version.digest,
            version.published_at or version.created_at,
            definition_of(version),
        )
        for name, label, share, version in await session.execute(query)
    ]


async def naming_mcp_server(session: AsyncSession, tenant_id: UUID, server: str) -> list[str]:
    """List the agents of a tenant that answer and name an MCP server."""
    answers = await answering(session, tenant_id)
    return sorted({one.name for one in answers if server in one.definition.mcp_servers})


async def published(
    session: AsyncSession, tenant_id: UUID | None, *, include_internal: bool = False
) -> list[Answering]:
    """List the agents of a tenant that its members may start, each in its stable version."""
    answers = await answering(session, tenant_id) if tenant_id else []
    visible = {"tenant", "internal"} if include_internal else {"tenant"}
    return [one for one in answers if one.label == STABLE and one.definition.visibility in visible]


def definition_of(version: StoredVersion) -> AgentDefinition:
    """Read the definition of a version."""
    return AgentDefinition.model_validate(version.definition)


async def find_or_create(session: AsyncSession, caller: Principal, name: str) -> StoredAgent:
    """Find an agent, or create it without a version; raises AgentAlreadyExists, TooManyAgents."""
    await check_name(session, caller.tenant_id, name)
    own = select(StoredAgent).filter_by(tenant_id=caller.tenant_id, deleted_at=None)
    agents = {agent.name: agent for agent in await session.scalars(own)}
    if name in agents:
        return agents[name]
    if len(agents) >= MAX_AGENTS:
        raise TooManyAgents
    agent = StoredAgent(id=uuid4(), tenant_id=caller.tenant_id, name=name, created_by=caller.subject)
    session.add(agent)
    await session.flush()
    return agent


async def save_draft(
    session: AsyncSession, caller: Principal, name: str, definition: AgentDefinition, note: str
) -> StoredVersion:
    """Store a definition as the draft; where the newest version is the same, return that.

    Raises AgentAlreadyExists, TooManyAgents.
    """
    agent = await find_or_create(session, caller, name)
    definition = await pinned(session, agent.tenant_id, definition)
    newest = (await session.scalars(versions_of(agent).limit(1))).one_or_none()
    if newest is not None and newest.digest == definition.digest:
        return newest
    if newest is None or newest.state != "draft":
        newest = StoredVersion(
            id=uuid4(),
            agent_id=agent.id,
            tenant_id=agent.tenant_id,
            number=newest.number + 1 if newest else 1,
            state="draft",
        )
        session.add(newest)
    newest.definition, newest.digest = definition.stored(), definition.digest
    newest.schema_version, newest.note = definition.schema_version, note
    newest.created_by = caller.subject
    audit.record_action(
        session, caller, AuditAction.SAVED, agent=name, version=newest.number, digest=newest.digest
    )
    await session.flush()
    return newest


async def release(
    session: AsyncSession, agent: StoredAgent, version: StoredVersion, percentage: int = 100
) -> None:
    """Release a version for all conversations, or as a canary for a part of them."""
    has_stable = STABLE in await releases_of(session, agent)
    label = STABLE if percentage == 100 or not has_stable else CANARY
    replaced = delete(Release).where(Release.agent_id == agent.id)
    await session.execute(replaced if label == STABLE else replaced.where(Release.label == CANARY))
    share = 100 if label == STABLE else percentage
    session.add(Release(agent_id=agent.id, label=label, version_id=version.id, percentage=share))
    version.published_at = version.published_at or datetime.now(UTC)
    version.state = "published"
    await session.flush()
    await retire_others(session, agent)


async def retire_others(session: AsyncSession, agent: StoredAgent) -> None:
    """Retire the published versions that answer no more."""
    current = select(Release.version_id).filter_by(agent_id=agent.id)
    replaced = versions_of(agent).where(StoredVersion.state == "published", StoredVersion.id.not_in(current))
    for version in await session.scalars(replaced):
        version.state = "retired"


async def end_canary(session: AsyncSession, agent: StoredAgent) -> None:
    """End the canary: the stable version answers all conversations."""
    await session.execute(delete(Release).filter_by(agent_id=agent.id, label=CANARY))
    await retire_others(session, agent)


async def version_before(session: AsyncSession, agent: StoredAgent, version: StoredVersion) -> StoredVersion:
    """Return the version that was published before another; raises NoEarlierVersion."""
    earlier = versions_of(agent).where(
        StoredVersion.number < version.number, StoredVersion.published_at.is_not(None)
    )
    found = (await session.scalars(earlier.limit(1))).one_or_none()
    if found is None:
        raise NoEarlierVersion
    return found


async def remove(session: AsyncSession, caller: Principal, name: str) -> None:
    """Delete an agent that no other reaches. Raises AgentNotFound, AgentInUse."""
    agent = await find(session, caller, name)
    answers = await answering(session, agent.tenant_id)
    check_unreached([name], [one for one in answers if one.name != name])
    mark_deleted(session, caller, agent)


def check_unreached(names: Collection[str], others: Iterable[Answering]) -> None:
    """Raise AgentInUse where other agents reach one of these names."""
    users = [one.name for one in others if not {*names}.isdisjoint(one.definition.neighbours)]
    if users:
        listed = ", ".join(dict.fromkeys(users))
        raise AgentInUse(f"Other agents reach it: {listed}. Change them first, or delete them together.")


def mark_deleted(session: AsyncSession, caller: Principal, agent: StoredAgent) -> None:
    """Delete an agent; runs that began with it go on."""
    agent.deleted_at = func.now()
    audit.record_action(session, caller, AuditAction.DELETED, agent=agent.name)


async def check_tool_unused(session: AsyncSession, caller: Principal, tool: str) -> None:
    """Raise ToolInUse where agents that answer use an HTTP tool."""
    assert caller.tenant_id  # noqa: S101  # the token of a member has one
    uses = [
        one.name
        for one in await answering(session, caller.tenant_id)
        if any(use.name == tool and use.digest for use in one.definition.tools)
    ]
    if uses:
        names = ", ".join(dict.fromkeys(uses))
        raise ToolInUse(f"Agents use the tool: {names}. Publish them without it first.")

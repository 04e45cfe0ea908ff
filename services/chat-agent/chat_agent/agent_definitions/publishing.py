"""Publishes versions, and rolls them back."""

from collections.abc import Sequence
from uuid import UUID

from servicekit.auth.tokens import Principal
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent import audit
from chat_agent.agent_definitions import store
from chat_agent.agent_definitions.audit import AuditAction
from chat_agent.agent_definitions.definition import AgentDefinition
from chat_agent.agent_definitions.errors import AgentVersionNotFound, InvalidAgentDefinition
from chat_agent.agent_definitions.own_tools import own_tools, pinned
from chat_agent.agent_definitions.schemas import Publication, Rollback
from chat_agent.agent_definitions.store import CANARY, STABLE, Answering
from chat_agent.agent_definitions.tables import StoredAgent, StoredVersion
from chat_agent.agent_definitions.validation import Surroundings, problems_of
from chat_agent.direct_models import DirectModels
from chat_agent.documents import DefinitionProblem
from chat_agent.mcp_servers.registered import load_servers


async def check(
    session: AsyncSession, tenant_id: UUID, models: DirectModels, name: str, definition: AgentDefinition
) -> list[DefinitionProblem]:
    """List why a definition cannot be published beside the agents that answer now.

    Raises AgentAlreadyExists.
    """
    await store.check_name(session, tenant_id, name)
    others = by_name(await store.answering(session, tenant_id))
    servers = await load_servers(session, tenant_id, definition.mcp_servers)
    tools = await own_tools(session, tenant_id, [definition])
    return problems_of(name, definition, Surroundings(tenant_id, models, others, servers, tools))


def by_name(answering: Sequence[Answering]) -> dict[str, list[AgentDefinition]]:
    """Return the definitions of each name."""
    named: dict[str, list[AgentDefinition]] = {}
    for one in answering:
        named.setdefault(one.name, []).append(one.definition)
    return named


async def publish(
    session: AsyncSession, caller: Principal, models: DirectModels, name: str, publication: Publication
) -> StoredAgent:
    """Publish the draft or a version to answer all or some conversations.

    Raises AgentNotFound, AgentVersionNotFound, InvalidAgentDefinition.
    """
    await store.lock_tenant(session, caller)
    agent = await store.find(session, caller, name)
    version = await version_to_publish(session, agent, publication.version)
    await release(session, models, agent, version, publication.percentage)
    share = publication.percentage
    audit.record_action(
        session, caller, AuditAction.PUBLISHED, agent=name, **named(version), percentage=share
    )
    return agent


async def version_to_publish(session: AsyncSession, agent: StoredAgent, number: int | None) -> StoredVersion:
    """Find a version, or the draft, or else the canary; raises AgentVersionNotFound."""
    if number is not None:
        return await store.find_version(session, agent, number)
    draft = (await session.scalars(store.versions_of(agent).filter_by(state="draft"))).one_or_none()
    if draft is not None:
        return draft
    releases = await store.releases_of(session, agent)
    if CANARY not in releases:
        raise AgentVersionNotFound(
            f"The agent {agent.name!r} has neither a draft nor a canary. Name the version to publish."
        )
    _, canary = releases[CANARY]
    return canary


async def release(
    session: AsyncSession,
    models: DirectModels,
    agent: StoredAgent,
    version: StoredVersion,
    percentage: int = 100,
) -> None:
    """Release a valid version; raises InvalidAgentDefinition."""
    definition = store.definition_of(version)
    if version.state == "draft":
        # A tool may be newer than the draft that names it.
        definition = await pinned(session, agent.tenant_id, definition)
        version.definition, version.digest = definition.stored(), definition.digest
    if problems := await check(session, agent.tenant_id, models, agent.name, definition):
        raise InvalidAgentDefinition(problems)
    await store.release(session, agent, version, percentage)


def named(version: StoredVersion) -> dict[str, int | str]:
    """Return what names a version in the audit log."""
    return {"version": version.number, "digest": version.digest}


async def roll_back(
    session: AsyncSession, caller: Principal, models: DirectModels, name: str, rollback: Rollback
) -> StoredAgent:
    """End the canary, or let an earlier version answer again.

    Raises AgentNotFound, AgentVersionNotFound, NoEarlierVersion, InvalidAgentDefinition.
    """
    await store.lock_tenant(session, caller)
    agent = await store.find(session, caller, name)
    releases = await store.releases_of(session, agent)
    if STABLE not in releases:
        raise AgentVersionNotFound(f"The agent {name!r} has no published version.")
    _, stable = releases[STABLE]
    if rollback.version is None and CANARY in releases:
        await store.end_canary(session, agent)
        version = stable
    else:
        version = await version_to_return_to(session, agent, stable, rollback.version)
        await release(session, models, agent, version)
    audit.record_action(session, caller, AuditAction.ROLLED_BACK, agent=name, **named(version))
    return agent


async def version_to_return_to(
    session: AsyncSession, agent: StoredAgent, stable: StoredVersion, number: int | None
) -> StoredVersion:
    """Find the version that is published again; raises AgentVersionNotFound, NoEarlierVersion."""
    if number is None:
        return await store.version_before(session, agent, stable)
    version = await store.find_version(session, agent, number)
    if version.published_at is None:
        raise AgentVersionNotFound(f"Version {number} of the agent {agent.name!r} was never published.")
    return version

"""Publishes versions, rolls them back, and applies files of agents."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from servicekit.auth.tokens import Principal
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent import audit
from chat_agent.agent_definitions import store
from chat_agent.agent_definitions.audit import AuditAction
from chat_agent.agent_definitions.definition import AgentDefinition
from chat_agent.agent_definitions.diff import changes_between
from chat_agent.agent_definitions.errors import (
    AgentVersionNotFound,
    InvalidAgentDefinition,
    PlanOutdated,
)
from chat_agent.agent_definitions.own_tools import own_tools, pinned
from chat_agent.agent_definitions.schemas import (
    AgentDocument,
    Application,
    Plan,
    PlannedAgent,
    Publication,
    Rollback,
)
from chat_agent.agent_definitions.store import CANARY, STABLE, Answering
from chat_agent.agent_definitions.tables import StoredAgent, StoredVersion
from chat_agent.agent_definitions.validation import Surroundings, check_name, problems_of
from chat_agent.direct_models import DirectModels
from chat_agent.documents import DefinitionProblem, digest_of
from chat_agent.mcp_servers.registered import load_servers


async def check(
    session: AsyncSession, tenant_id: UUID, models: DirectModels, name: str, definition: AgentDefinition
) -> list[DefinitionProblem]:
    """List why a definition cannot be published beside the agents that answer now.

    Raises AgentAlreadyExists.
    """
    check_name(name)
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


async def apply(
    session: AsyncSession, caller: Principal, models: DirectModels, application: Application
) -> Plan:
    """Publish agents together, all or none, or only plan it.

    Raises InvalidAgentDefinition, PlanOutdated, AgentAlreadyExists, TooManyAgents.
    """
    await store.lock_tenant(session, caller)
    assert caller.tenant_id  # noqa: S101  # the token of a member has one
    current = await store.answering(session, caller.tenant_id)
    for one in application.agents:
        check_name(one.name)
    documents = [await with_pinned_tools(session, caller.tenant_id, one) for one in application.agents]
    names = {name for one in documents for name in one.definition.mcp_servers}
    servers = await load_servers(session, caller.tenant_id, names)
    tools = await own_tools(session, caller.tenant_id, [one.definition for one in documents])
    check_together(Surroundings(caller.tenant_id, models, by_name(current), servers, tools), documents)
    stable = {one.name: one for one in current if one.label == STABLE}
    plan = plan_of(documents, stable)
    if application.plan not in {None, plan.digest}:
        raise PlanOutdated
    if application.dry_run:
        return plan
    for planned, document in zip(plan.agents, documents, strict=True):
        if planned.action != "unchanged":
            planned.version = await publish_document(session, caller, document)
    return plan.model_copy(update={"applied": True})


async def with_pinned_tools(session: AsyncSession, tenant_id: UUID, document: AgentDocument) -> AgentDocument:
    """Return a document that names the versions of tools."""
    definition = await pinned(session, tenant_id, document.definition)
    return document.model_copy(update={"definition": definition})


def check_together(current: Surroundings, documents: Sequence[AgentDocument]) -> None:
    """Raise InvalidAgentDefinition where an agent is not valid beside all others as they will be."""
    future = {**current.others, **{one.name: [one.definition] for one in documents}}
    around = replace(current, others=future)
    problems = [
        DefinitionProblem(path=f"agents[{index}].definition.{problem.path}", message=problem.message)
        for index, one in enumerate(documents)
        for problem in problems_of(one.name, one.definition, around)
    ]
    names = [one.name for one in documents]
    for index, name in enumerate(names):
        if name in names[:index]:
            problems.append(
                DefinitionProblem(path=f"agents[{index}].name", message=f"{name!r} is named twice.")
            )
    if problems:
        raise InvalidAgentDefinition(problems)


def plan_of(documents: Sequence[AgentDocument], stable: Mapping[str, Answering]) -> Plan:
    """Return what would change."""
    agents = [planned(one, stable.get(one.name)) for one in documents]
    states = [
        (one.name, one.definition.digest, stable[one.name].digest if one.name in stable else None)
        for one in documents
    ]
    digest = digest_of(states)
    return Plan(digest=digest, applied=False, agents=agents)


def planned(document: AgentDocument, stable: Answering | None) -> PlannedAgent:
    """Return what becomes of one agent."""
    before = stable.definition.stored() if stable else {}
    changes = [*changes_between(before, document.definition.stored())]
    action = "create" if stable is None else "update" if changes else "unchanged"
    return PlannedAgent(
        name=document.name, action=action, version=stable.number if stable else None, changes=changes
    )


async def publish_document(session: AsyncSession, caller: Principal, document: AgentDocument) -> int:
    """Publish the definition of a document that was checked; return its number."""
    version = await store.save_draft(session, caller, document.name, document.definition, document.note)
    agent = await store.find(session, caller, document.name)
    await store.release(session, agent, version)
    audit.record_action(session, caller, AuditAction.PUBLISHED, agent=agent.name, **named(version))
    return version.number

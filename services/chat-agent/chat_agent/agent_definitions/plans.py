"""Plans what becomes of several agents, and publishes and deletes them together."""

import asyncio
from collections.abc import Iterable, Sequence
from uuid import UUID

from servicekit.auth.tokens import Principal
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent import audit
from chat_agent.agent_definitions import store
from chat_agent.agent_definitions.audit import AuditAction
from chat_agent.agent_definitions.diff import changes_between
from chat_agent.agent_definitions.errors import InvalidAgentDefinition, PlanOutdated
from chat_agent.agent_definitions.own_tools import own_tools, pinned
from chat_agent.agent_definitions.publishing import by_name, named
from chat_agent.agent_definitions.schemas import AgentDocument, Application, Plan, PlannedAgent
from chat_agent.agent_definitions.store import STABLE, Answering
from chat_agent.agent_definitions.tables import StoredAgent
from chat_agent.agent_definitions.validation import Surroundings, problems_of
from chat_agent.direct_models import DirectModels
from chat_agent.documents import DefinitionProblem, digest_of
from chat_agent.mcp_servers.registered import load_servers


async def apply(
    session: AsyncSession, caller: Principal, models: DirectModels, application: Application
) -> Plan:
    """Publish and delete agents together, all or none, or only plan it.

    Raises InvalidAgentDefinition, PlanOutdated, AgentAlreadyExists, AgentNotFound, AgentInUse, TooManyAgents.
    """
    await store.lock_tenant(session, caller)
    assert caller.tenant_id  # noqa: S101  # the token of a member has one
    check_names(application)
    leaving = [await store.find(session, caller, name) for name in application.delete]
    documents = [await with_pinned_tools(session, caller.tenant_id, one) for one in application.agents]
    current = await store.answering(session, caller.tenant_id)
    plan = plan_of(documents, leaving, current)
    changed = {one.name for one in plan.agents if one.action != "unchanged"}
    staying = [one for one in current if one.name not in changed]
    await check_documents(session, caller.tenant_id, models, documents, staying)
    store.check_unreached(application.delete, staying)
    if application.plan not in {None, plan.digest}:
        raise PlanOutdated
    if not application.dry_run:
        await carry_out(session, caller, plan, documents, leaving)
    return plan


async def with_pinned_tools(session: AsyncSession, tenant_id: UUID, document: AgentDocument) -> AgentDocument:
    """Return a document that names the versions of tools; raises AgentAlreadyExists."""
    await store.check_name(session, tenant_id, document.name)
    definition = await pinned(session, tenant_id, document.definition)
    return document.model_copy(update={"definition": definition})


def plan_of(
    documents: Sequence[AgentDocument], leaving: Sequence[StoredAgent], current: Sequence[Answering]
) -> Plan:
    """Return what would change."""
    stable = {one.name: one for one in current if one.label == STABLE}
    agents = [planned(one, stable.get(one.name)) for one in documents]
    agents += [planned_deletion(agent.name, stable.get(agent.name)) for agent in leaving]
    after = [one.definition.digest for one in documents] + [None for _ in leaving]
    states = [
        (one.name, digest, stable[one.name].digest if one.name in stable else None)
        for one, digest in zip(agents, after, strict=True)
    ]
    return Plan(digest=digest_of(states), applied=False, agents=agents)


def planned(document: AgentDocument, stable: Answering | None) -> PlannedAgent:
    """Return what becomes of an agent that is published."""
    before = stable.definition.stored() if stable else {}
    changes = [*changes_between(before, document.definition.stored())]
    action = "create" if stable is None else "update" if changes else "unchanged"
    return PlannedAgent(
        name=document.name, action=action, version=stable.number if stable else None, changes=changes
    )


def planned_deletion(name: str, stable: Answering | None) -> PlannedAgent:
    """Return what becomes of an agent that is deleted."""
    return PlannedAgent(name=name, action="delete", version=stable.number if stable else None, changes=[])


async def check_documents(
    session: AsyncSession,
    tenant_id: UUID,
    models: DirectModels,
    documents: Sequence[AgentDocument],
    staying: Sequence[Answering],
) -> None:
    """Raise InvalidAgentDefinition where an agent is not valid beside all others as they will be.

    `staying`: the versions that go on to answer.
    """
    definitions = [one.definition for one in documents]
    servers = await load_servers(
        session, tenant_id, {name for one in definitions for name in one.mcp_servers}
    )
    tools = await own_tools(session, tenant_id, definitions)
    future = {**{one.name: [one.definition] for one in documents}, **by_name(staying)}
    around = Surroundings(tenant_id, models, future, servers, tools)
    # Of many agents, each of which reaches many, it takes seconds.
    if problems := await asyncio.to_thread(document_problems, documents, around):
        raise InvalidAgentDefinition(problems)


def document_problems(documents: Sequence[AgentDocument], around: Surroundings) -> list[DefinitionProblem]:
    """List what is wrong with documents, each with its path in the request."""
    return [
        DefinitionProblem(path=f"agents[{index}].definition.{problem.path}", message=problem.message)
        for index, one in enumerate(documents)
        for problem in problems_of(one.name, one.definition, around)
    ]


def check_names(application: Application) -> None:
    """Raise InvalidAgentDefinition where an agent is named twice."""
    named_before = set[str]()
    problems = []
    places = [(f"agents[{index}].name", one.name) for index, one in enumerate(application.agents)]
    places += [(f"delete[{index}]", name) for index, name in enumerate(application.delete)]
    for path, name in places:
        if name in named_before:
            problems.append(DefinitionProblem(path=path, message=f"{name!r} is named twice."))
        named_before.add(name)
    if problems:
        raise InvalidAgentDefinition(problems)


async def carry_out(
    session: AsyncSession,
    caller: Principal,
    plan: Plan,
    documents: Sequence[AgentDocument],
    leaving: Iterable[StoredAgent],
) -> None:
    """Do what a plan says, and note in it the versions that answer."""
    for agent in leaving:
        store.mark_deleted(session, caller, agent)
    await session.flush()
    # Those that are deleted come last in the plan.
    for one, document in zip(plan.agents, documents, strict=False):
        if one.action != "unchanged":
            one.version = await publish_document(session, caller, document)
    plan.applied = True


async def publish_document(session: AsyncSession, caller: Principal, document: AgentDocument) -> int:
    """Publish the definition of a document that was checked; return its number."""
    version = await store.save_draft(session, caller, document.name, document.definition, document.note)
    agent = await store.find(session, caller, document.name)
    await store.release(session, agent, version)
    audit.record_action(session, caller, AuditAction.PUBLISHED, agent=agent.name, **named(version))
    return version.number

"""The HTTP routes of agents that are data."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Path, Query, Request, Response, status
from servicekit.auth.tokens import Principal
from servicekit.database import Session
from servicekit.schemas import Page
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.agent_definitions import plans, publishing, schemas, store
from chat_agent.agent_definitions.definition import AgentName
from chat_agent.agent_definitions.diff import changes_between
from chat_agent.agent_definitions.schemas import VersionNumber
from chat_agent.agent_definitions.store import CANARY, STABLE
from chat_agent.agent_definitions.tables import Release, StoredAgent, StoredVersion
from chat_agent.api.dependencies import Author, ManagerDep
from chat_agent.api.disconnects import disconnect_handler, watched
from chat_agent.api.dry_runs import dry_run_request
from chat_agent.api.rate_limits import AuthorLimiter
from chat_agent.api.start_run import chat_response, start_run
from chat_agent.execution import subscribe
from chat_agent.schemas import MAX_CHAT_BODY

Name = Annotated[AgentName, Path(description="The name of an agent of the tenant.")]
Number = Annotated[VersionNumber, Path()]
Before = Annotated[VersionNumber, Query(alias="from", description="The version to compare with.")]
After = Annotated[VersionNumber, Query(alias="to", description="The version that is compared.")]
# All members have a default, so that a body may be left out.
Publication = Annotated[schemas.Publication, Body(default_factory=schemas.Publication)]
Rollback = Annotated[schemas.Rollback, Body(default_factory=schemas.Rollback)]
VersionQuery = Annotated[schemas.VersionPage, Query()]

router = APIRouter(prefix="/api/v1/agents", tags=["agents"], max_body_size=MAX_CHAT_BODY)


@router.post("/apply", response_model=schemas.Plan)
async def apply_agents(
    application: schemas.Application, caller: Author, session: Session, manager: ManagerDep
) -> schemas.Plan:
    """Publish and delete agents together, all or none; by default only say what would change."""
    return await plans.apply(session, caller, manager.settings.direct_models, application)


@router.get("/{name}", response_model=schemas.AgentDetail)
async def get_agent(name: Name, caller: Author, session: Session) -> schemas.AgentDetail:
    """Read which versions of an agent answer."""
    return await detail_of(session, await store.find(session, caller, name))


@router.put("/{name}", response_model=schemas.Version)
async def save_agent_draft(
    name: Name, draft: schemas.Draft, caller: Author, session: Session
) -> StoredVersion:
    """Create an agent, or store a new draft of it; nothing changes until that is published."""
    await store.lock_tenant(session, caller)
    return await store.save_draft(session, caller, name, draft.definition, draft.note)


@router.delete("/{name}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_agent(name: Name, caller: Author, session: Session) -> None:
    """Delete an agent with its versions; runs that began with it go on."""
    await store.lock_tenant(session, caller)
    await store.remove(session, caller, name)


@router.post("/{name}/validate", response_model=schemas.Validation)
async def validate_agent(
    name: Name, draft: schemas.Draft, caller: Author, session: Session, manager: ManagerDep
) -> schemas.Validation:
    """Verify whether a definition could be published, and list what is wrong with it; nothing is stored."""
    tenant_id, models = tenant_of(caller), manager.settings.direct_models
    problems = await publishing.check(session, tenant_id, models, name, draft.definition)
    return schemas.Validation(valid=not problems, problems=problems)


@router.post("/{name}/dry-run", response_model=schemas.DryRunAnswer)
async def dry_run_agent(  # noqa: PLR0913, PLR0917  # what FastAPI injects
    name: Name,
    request: schemas.DryRun,
    caller: Author,
    manager: ManagerDep,
    limiter: AuthorLimiter,
    http_request: Request,
    response: Response,
) -> schemas.DryRunAnswer:
    """Run the draft or a definition once; it ends at the first call of a tool, and no content remains."""
    async with limiter.admit("chat") as grant:
        request_ = await dry_run_request(manager, caller, name, request)
        started = await start_run(manager, caller, request_, None)
    async with watched(http_request, disconnect_handler(manager, caller, None, None, [started])):
        final = await subscribe.final_event(manager, started.run.id)
    response.headers.update({**grant.headers(), **started.headers()})
    answer, calls = chat_response(started, final), final.json().get("tool_calls", [])
    return schemas.DryRunAnswer(
        text=answer.response, calls=calls, agent=name, model=started.run.model, usage=answer.usage
    )


@router.post("/{name}/publish", response_model=schemas.AgentDetail)
async def publish_agent(
    name: Name, publication: Publication, caller: Author, session: Session, manager: ManagerDep
) -> schemas.AgentDetail:
    """Publish the draft or a version to answer all conversations or as a canary a part of them."""
    models = manager.settings.direct_models
    return await detail_of(session, await publishing.publish(session, caller, models, name, publication))


@router.post("/{name}/rollback", response_model=schemas.AgentDetail)
async def roll_back_agent(
    name: Name, rollback: Rollback, caller: Author, session: Session, manager: ManagerDep
) -> schemas.AgentDetail:
    """End the canary, or let an earlier version answer again."""
    models = manager.settings.direct_models
    return await detail_of(session, await publishing.roll_back(session, caller, models, name, rollback))


@router.get("/{name}/versions", response_model=Page[schemas.VersionSummary])
async def list_agent_versions(
    name: Name, caller: Author, session: Session, query: VersionQuery
) -> Page[schemas.VersionSummary]:
    """List the versions of an agent, the newest first."""
    # What is no cursor is refused first: whether the agent exists says nothing of it.
    before = query.before()
    agent = await store.find(session, caller, name)
    versions, next_cursor = await store.list_versions(session, agent, before, query.limit)
    items = [schemas.VersionSummary.model_validate(version) for version in versions]
    return Page(items=items, next_cursor=next_cursor)


@router.get("/{name}/versions/{number}", response_model=schemas.Version)
async def get_agent_version(name: Name, number: Number, caller: Author, session: Session) -> StoredVersion:
    """Read a version with its definition."""
    return await store.find_version(session, await store.find(session, caller, name), number)


@router.get("/{name}/diff", response_model=schemas.Diff)
async def compare_agent_versions(
    name: Name, before: Before, after: After, caller: Author, session: Session
) -> schemas.Diff:
    """Return the members in which two versions differ."""
    agent = await store.find(session, caller, name)
    old, new = [await store.find_version(session, agent, number) for number in (before, after)]
    changes = [*changes_between(old.definition, new.definition)]
    return schemas.Diff(before=before, after=after, changes=changes)


def tenant_of(caller: Principal) -> UUID:
    """Return the tenant of a member."""
    assert caller.tenant_id  # noqa: S101  # the token of a member has one
    return caller.tenant_id


async def detail_of(session: AsyncSession, agent: StoredAgent) -> schemas.AgentDetail:
    """Describe an agent with the versions that answer."""
    releases = await store.releases_of(session, agent)
    versions = (await session.scalars(store.versions_of(agent).limit(1))).all()
    newest = versions[0]
    current = {label: released(*releases[label]) for label in (STABLE, CANARY) if label in releases}
    return schemas.AgentDetail(
        name=agent.name,
        created_by=agent.created_by,
        created_at=agent.created_at,
        stable=current.get(STABLE),
        canary=current.get(CANARY),
        draft=newest.number if newest.state == "draft" else None,
        latest=newest.number,
    )


def released(release: Release, version: StoredVersion) -> schemas.ReleasedVersion:
    """Describe a version that answers."""
    return schemas.ReleasedVersion(
        version=version.number, digest=version.digest, percentage=release.percentage
    )

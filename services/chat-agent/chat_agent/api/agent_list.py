"""The list of agents that a caller may choose from."""

from agents import Agent
from servicekit.auth.permissions import allows
from servicekit.auth.tokens import Principal
from servicekit.errors import Forbidden
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent import schemas
from chat_agent.agent_definitions import store
from chat_agent.agent_definitions.store import Answering
from chat_agent.agents import AGENTS
from chat_agent.agents.tool import RunContext
from chat_agent.api.dependencies import MANAGE


async def list_agents(
    session: AsyncSession, caller: Principal, *, include_internal: bool
) -> list[schemas.Agent]:
    """List the agents of the service, and those of the tenant that have a published version.

    Raises Forbidden.
    """
    if include_internal and not allows(MANAGE, caller.role, caller.scopes):
        raise Forbidden(f"Internal agents are listed for those who have {MANAGE}.")
    own = await store.published(session, caller.tenant_id, include_internal=include_internal)
    names = {one.name for one in own}
    in_code = [agent for name, agent in AGENTS.items() if name not in names]
    return [*map(to_agent_schema, in_code), *map(to_own_agent_schema, own)]


def to_agent_schema(agent: Agent[RunContext]) -> schemas.Agent:
    """Describe an agent to people."""
    return schemas.Agent(
        name=agent.name,
        status="active",
        description=agent.handoff_description or "",
        handoffs=[other.name for other in agent.handoffs if isinstance(other, Agent)],
        tools=[tool.name for tool in agent.tools],
    )


def to_own_agent_schema(one: Answering) -> schemas.Agent:
    """Describe an agent of a tenant to people."""
    definition = one.definition
    return schemas.Agent(
        name=one.name,
        status="active",
        description=definition.description,
        handoffs=definition.handoffs,
        tools=[*(use.name for use in definition.tools), *(f"ask_{name}" for name in definition.as_tools)],
        source="tenant",
        version=one.number,
        starters=definition.starters,
        variables=[
            schemas.AgentVariable(name=name, **variable.model_dump())
            for name, variable in sorted(definition.variables.items())
        ],
    )

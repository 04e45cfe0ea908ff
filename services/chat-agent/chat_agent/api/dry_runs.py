"""Runs a definition once: its tools become the caller's, so that the first call of one ends the run."""

from uuid import UUID

from agents import Agent, FunctionTool, Handoff
from servicekit.auth.tokens import Principal
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.agent_definitions import publishing, store
from chat_agent.agent_definitions.definition import AgentDefinition
from chat_agent.agent_definitions.errors import InvalidAgentDefinition
from chat_agent.agent_definitions.own_tools import pinned
from chat_agent.agent_definitions.schemas import DryRun
from chat_agent.agent_definitions.selection import AgentSelection
from chat_agent.agents.tool import RunContext
from chat_agent.api.run_request import RunRequest
from chat_agent.execution.manager import RunManager
from chat_agent.runs.options import ClientTool, RunOptions
from chat_agent.schemas import AgentVersion, ChatRequest

# It is no version of the agent.
NUMBER = 0
# What only names tools.
TOOL_MEMBERS = ("tools", "mcp", "handoffs", "as_tools", "memory")


async def dry_run_request(manager: RunManager, caller: Principal, name: str, request: DryRun) -> RunRequest:
    """Return what is run of a definition, or of the draft.

    Raises AgentNotFound, AgentVersionNotFound, InvalidAgentDefinition.
    """
    assert caller.tenant_id  # noqa: S101  # the token of a member has one
    async with manager.database.begin() as session:
        definition = request.definition or await draft_of(session, caller, name)
        definition = await pinned(session, caller.tenant_id, definition)
        models = manager.settings.direct_models
        if problems := await publishing.check(session, caller.tenant_id, models, name, definition):
            raise InvalidAgentDefinition(problems)
    tools = await tools_of(manager, caller.tenant_id, name, definition)
    chat = ChatRequest(message=request.message, agent_type=name, variables=request.variables)
    return RunRequest(
        chat,
        options=RunOptions(tools=tools),
        persistence="none",
        selection=without_tools(name, definition),
    )


async def draft_of(session: AsyncSession, caller: Principal, name: str) -> AgentDefinition:
    """Return the draft of an agent; raises AgentNotFound, AgentVersionNotFound."""
    agent = await store.find(session, caller, name)
    return store.definition_of(await publishing.version_to_publish(session, agent, None))


def without_tools(name: str, definition: AgentDefinition) -> AgentSelection:
    """Return the agent with nothing that it could call itself."""
    members = {key: value for key, value in definition.stored().items() if key not in TOOL_MEMBERS}
    alone = AgentDefinition.model_validate(members)
    version = AgentVersion(name=name, number=NUMBER, digest=definition.digest)
    return AgentSelection(name, [version], {name: alone}, is_dry_run=True)


async def tools_of(
    manager: RunManager, tenant_id: UUID, name: str, definition: AgentDefinition
) -> list[ClientTool]:
    """Return the tools of an agent, and its handoffs, as a model sees them."""
    selection = await manager.selector.select_definition(tenant_id, name, definition)
    agent = manager.build_agents(tenant_id, selection, {})[name]
    tools = [as_client_tool(one) for one in agent.tools if isinstance(one, FunctionTool)]
    return [*tools, *(as_handoff_tool(one) for one in agent.handoffs if isinstance(one, Agent))]


def as_client_tool(tool: FunctionTool) -> ClientTool:
    """Return a tool as its caller's."""
    return ClientTool(
        name=tool.name,
        description=tool.description,
        parameters=tool.params_json_schema,
        is_strict=tool.strict_json_schema,
    )


def as_handoff_tool(agent: Agent[RunContext]) -> ClientTool:
    """Return a handoff as a tool of the caller."""
    return ClientTool(
        name=Handoff.default_tool_name(agent),
        description=Handoff.default_tool_description(agent),
        parameters={"type": "object", "properties": {}, "required": [], "additionalProperties": False},
        is_strict=True,
    )

"""Verifies the arguments that people have changed, before the decisions on the calls are stored."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from agents import Agent, FunctionTool
from servicekit.auth.tokens import Principal

from chat_agent.agents.tool import RunContext
from chat_agent.agents.trust import called_by, reached_from
from chat_agent.api.deadlines import transaction
from chat_agent.errors import InvalidToolArguments
from chat_agent.execution.manager import RunManager
from chat_agent.model.schema_validation import SchemaValidator
from chat_agent.models import Run
from chat_agent.runs import approvals, store
from chat_agent.runs.options import RunOptions
from chat_agent.runs.schemas import Answer
from chat_agent.schemas import AgentVersion


async def check_edited_arguments(
    manager: RunManager, caller: Principal, run_id: UUID, decisions: Mapping[UUID, Answer]
) -> None:
    """Verify changed arguments by the schemas of the tools that are called with them.

    Raises InvalidToolArguments, RunNotFound, ApprovalNotFound.
    """
    edited = {
        id_: one.arguments for id_, one in decisions.items() if one.approve and one.arguments is not None
    }
    if not edited:
        return
    async with transaction(manager.database) as session:
        run = await store.find(session, caller, run_id)
        requests = {id_: await approvals.find(session, run, id_) for id_ in edited}
    tools = await tools_of(manager, run)
    for id_, arguments in edited.items():
        tool = tools.get((requests[id_].agent, requests[id_].name))
        if tool is not None and (mismatch := SchemaValidator(schema_of(tool)).mismatch(arguments)):
            place = mismatch.described("the arguments")
            raise InvalidToolArguments(f"The arguments do not match the schema of {tool.name!r}{place}.")


async def tools_of(manager: RunManager, run: Run) -> dict[tuple[str, str], FunctionTool]:
    """Return the tools of a run by the names of their agents and their own, in the versions it began with."""
    versions = [AgentVersion.model_validate(one) for one in run.agent_versions]
    services, options = manager.services, RunOptions.model_validate(run.options)
    selection = await services.agents.restore(run.tenant_id, run.agent, versions)
    agents = services.build_agents(run.tenant_id, selection, options.variables)
    return {
        (agent.name, tool.name): tool
        for agent in with_called(agents.values())
        for tool in agent.tools
        if isinstance(tool, FunctionTool)
    }


def with_called(agents: Iterable[Agent[RunContext]]) -> list[Agent[RunContext]]:
    """Return agents, and all that they hand over to or call as tools."""
    found = [*agents]
    for one in found:
        found += [other for other in (*reached_from(one), *called_by(one)) if other not in found]
    return found


def schema_of(tool: FunctionTool) -> dict[str, Any]:
    """Return what a person may call a tool with; of models alone, arguments with defaults are required."""
    schema = tool.params_json_schema
    return {**schema, "required": []} if tool.strict_json_schema else schema

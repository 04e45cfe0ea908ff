"""Verifies the arguments that people have changed, before the decisions on the calls are stored."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from agents import FunctionTool
from servicekit.auth.tokens import Principal

from chat_agent.agents.trust import with_neighbours
from chat_agent.api.deadlines import transaction
from chat_agent.errors import InvalidToolArguments
from chat_agent.execution.manager import RunManager
from chat_agent.model.schema_validation import SchemaValidator
from chat_agent.models import Run
from chat_agent.runs import approvals, store
from chat_agent.runs.options import RunOptions
from chat_agent.runs.schemas import Answer


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
    options = RunOptions.model_validate(run.options)
    selection = await manager.selector.restore(run)
    agents = manager.services.build_agents(run.tenant_id, selection, options.variables)
    return {
        (agent.name, tool.name): tool
        for agent in with_neighbours(agents.values())
        for tool in agent.tools
        if isinstance(tool, FunctionTool)
    }


def schema_of(tool: FunctionTool) -> dict[str, Any]:
    """Return what a person may call a tool with; of models alone, arguments with defaults are required."""
    schema = tool.params_json_schema
    return {**schema, "required": []} if tool.strict_json_schema else schema

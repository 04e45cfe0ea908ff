"""Checks decisions on calls before they are stored: what people write, and arguments that they change."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from agents import FunctionTool
from servicekit.auth.tokens import Principal

from chat_agent.agent_definitions.selection import AgentSelection
from chat_agent.agents.trust import with_neighbours
from chat_agent.api.deadlines import transaction
from chat_agent.api.run_request import guards_of, recorded_refusals
from chat_agent.errors import InvalidToolArguments
from chat_agent.execution.manager import RunManager
from chat_agent.guardrails.messages import MessageGuard
from chat_agent.model.schema_validation import validator_of_tool
from chat_agent.models import Approval, Run
from chat_agent.runs import approvals, store
from chat_agent.runs.options import RunOptions
from chat_agent.runs.schemas import Answer


async def checked_decisions(
    manager: RunManager, caller: Principal, run_id: UUID, decisions: Mapping[UUID, Answer]
) -> Mapping[UUID, Answer]:
    """Return decisions with the masks of guardrails, once changed arguments fit the schemas of their tools.

    Raises GuardrailTriggered, which is recorded; InvalidToolArguments, RunNotFound, ApprovalNotFound.
    """
    if not any(one.reason or one.arguments is not None for one in decisions.values()):
        return decisions
    async with transaction(manager.database) as session:
        run = await store.find(session, caller, run_id)
        requests = {id_: await approvals.find(session, run, id_) for id_ in decisions}
    selection = await manager.selector.restore(run)
    async with recorded_refusals(manager, caller, agent=run.agent):
        for id_, request in requests.items():
            for guard in guards_of(manager, selection, *{run.agent, request.agent}):
                decisions = {**decisions, id_: await mask_decision(guard, decisions[id_])}
    edited = {
        id_: one.arguments for id_, one in decisions.items() if one.approve and one.arguments is not None
    }
    if edited:
        check_arguments(tools_of(manager, run, selection), requests, edited)
    return decisions


async def mask_decision(guard: MessageGuard, decision: Answer) -> Answer:
    """Return a decision with the masks of one guard; raises GuardrailTriggered."""
    reason, arguments = decision.reason, decision.arguments
    return decision.model_copy(
        update={
            "reason": reason and await guard.text(reason),
            "arguments": arguments and await guard.arguments(arguments),
        }
    )


def check_arguments(
    tools: Mapping[tuple[str, str], FunctionTool],
    requests: Mapping[UUID, Approval],
    edited: Mapping[UUID, Mapping[str, Any]],
) -> None:
    """Raise InvalidToolArguments for arguments that do not match the schema of the tool they are for."""
    for id_, arguments in edited.items():
        tool = tools.get((requests[id_].agent, requests[id_].name))
        if tool is None or (validator := validator_of_tool(schema_of(tool))) is None:
            continue
        if mismatch := validator.mismatch(arguments):
            place = mismatch.described("the arguments")
            raise InvalidToolArguments(f"The arguments do not match the schema of {tool.name!r}{place}.")


def tools_of(manager: RunManager, run: Run, selection: AgentSelection) -> dict[tuple[str, str], FunctionTool]:
    """Return the tools of a run by the names of their agents and their own, in the versions it began with."""
    options = RunOptions.model_validate(run.options)
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

"""The values of variables in requests: checked against the versions with which their runs will go on."""

from collections.abc import Mapping, Sequence
from typing import Any

from servicekit.auth.tokens import Principal

from chat_agent.agent_definitions.selection import AgentSelection
from chat_agent.execution.manager import RunManager
from chat_agent.runs import store
from chat_agent.schemas import ChatRequest


async def versions_of_calls(
    manager: RunManager,
    caller: Principal,
    chat: ChatRequest,
    outputs: Sequence[Mapping[str, Any]],
    selected: AgentSelection,
) -> AgentSelection:
    """Return the versions of the run that has called the tools with these outputs, else those selected."""
    if chat.conversation_id is None or not outputs or not selected.definitions:
        return selected
    async with manager.database.begin() as session:
        for output in reversed(outputs):
            run = await store.find_call(session, caller, chat.conversation_id, output["call_id"])
            if run is not None:
                break
        else:
            return selected
    return await manager.selector.restore(run)

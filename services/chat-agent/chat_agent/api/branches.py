"""Branches: a run that continues an earlier point of a conversation begins a new one with that history."""

from dataclasses import replace
from uuid import UUID

from servicekit.auth.tokens import Principal

from chat_agent.api.run_request import RunRequest
from chat_agent.api.start_run import StartedRun, start_run
from chat_agent.errors import ConversationBusy
from chat_agent.execution.manager import RunManager
from chat_agent.models import FINISHED, Run
from chat_agent.runs.store import RunContinued


async def continue_run(
    manager: RunManager, caller: Principal, request: RunRequest, key: str | None, previous: Run | None
) -> StartedRun:
    """Start a run after `previous`: in its conversation, or in a branch where that was continued already.

    A run that is not stored leaves its conversation as it is. Raises what `start_run` raises.
    """
    if request.persistence == "none" and request.chat.conversation_id is not None:
        request = await branch(manager, caller, request, previous)
        return await start_run(manager, caller, request, key)
    try:
        return await start_run(manager, caller, replace(request, previous=previous), key)
    except RunContinued:
        request = await branch(manager, caller, request, previous)
        return await start_run(manager, caller, request, key)


async def branch(
    manager: RunManager, caller: Principal, request: RunRequest, previous: Run | None
) -> RunRequest:
    """Return the request in a new conversation, which begins with the history until `previous`, or all of it.

    Raises ConversationNotFound, and ConversationBusy while `previous` is unfinished.
    """
    conversation_id = request.chat.conversation_id
    assert conversation_id is not None  # noqa: S101  # what is branched
    if previous is not None and previous.status not in FINISHED:
        raise ConversationBusy(retry_after=2)
    until_run: UUID | None = previous.id if previous else None
    items = await manager.conversation_client(caller).items(
        conversation_id, manager.settings.history_items, until_run
    )
    return replace(
        request,
        chat=request.chat.model_copy(update={"conversation_id": None}),
        # What the client knows of the history is stored, too.
        prelude=[*(item.data for item in items), *(() if request.is_whole_history else request.prelude)],
        first_agent=previous.final_agent if previous and request.tool_outputs else None,
    )

"""Calls of agents' own tools in a turn whose history the client sends: it was not given them to send back."""

from collections.abc import Sequence
from dataclasses import replace

from servicekit.auth.tokens import Principal

from chat_agent.api.deadlines import transaction
from chat_agent.api.run_request import History, RunRequest
from chat_agent.errors import ConversationNotFound
from chat_agent.execution.history import Item, split_turns
from chat_agent.execution.manager import RunManager
from chat_agent.items import is_call, is_output
from chat_agent.runs import store


async def with_server_calls(manager: RunManager, caller: Principal, request: RunRequest) -> RunRequest:
    """Return a request with the calls that the agents have made before those of the client's tools.

    Without them agents would make them once more. They are read from the conversation of the run that called
    the client's tools: nothing is added where that is gone. Raises ConversationUnavailable,
    RunCapacityExceeded.
    """
    is_branch = request.first_agent is not None
    if request.chat.conversation_id is not None or is_branch or not request.tool_outputs:
        return request
    async with transaction(manager.database) as session:
        run = await store.find_caller(session, caller, request.tool_outputs[-1]["call_id"])
    if run is None or run.persistence == "none":
        return request
    try:
        items = await manager.conversation_client(caller).items(
            run.conversation_id, manager.settings.history_items, until_run=run.id
        )
    except ConversationNotFound:
        return request
    prelude = add_calls(request.prelude, [item.data for item in items])
    is_known = prelude is not request.prelude and run.agent == request.chat.agent_type
    return replace(request, prelude=prelude, first_agent=run.final_agent if is_known else None)


def add_calls(prelude: History, stored: Sequence[Item]) -> History:
    """Return a client's history with the other calls of the newest stored turn, before its next ones.

    It stays as it is where its newest turn is another one.
    """
    *_, turn = split_turns([*prelude])
    *_, stored_turn = split_turns(stored)
    if turn.message is None or turn.message != stored_turn.message:
        return prelude
    before, after = other_calls(stored_turn.items, {one["call_id"] for one in turn.items if is_call(one)})
    if not before and not after:
        return prelude
    items: list[Item] = []
    for item in turn.items:
        items += [*before.get(item["call_id"], ()), item] if is_call(item) else [item]
    return [*prelude[: len(prelude) - len(turn.items)], *items, *after]


def other_calls(items: Sequence[Item], own: set[str]) -> tuple[dict[str, list[Item]], list[Item]]:
    """Return the calls, with their outputs, before each of a client's own, and after the last one."""
    outputs = {item["call_id"]: item for item in items if is_output(item)}
    before: dict[str, list[Item]] = {}
    others: list[Item] = []
    for call in filter(is_call, items):
        if call["call_id"] not in own:
            others += [call, outputs[call["call_id"]]] if call["call_id"] in outputs else []
        elif others:
            before[call["call_id"]], others = others, []
    return before, others

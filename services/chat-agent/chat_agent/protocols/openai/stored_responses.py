"""Responses that are stored: their input, and their deletion."""

from collections.abc import Sequence
from contextlib import suppress

from servicekit.auth.tokens import Principal
from servicekit.errors import Conflict
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.clients.conversation import StoredItem, TurnRef
from chat_agent.errors import ConversationNotFound, ItemNotFound, RunNotFound
from chat_agent.event_log.store import EventStore
from chat_agent.execution.manager import RunManager
from chat_agent.models import FINISHED, Run
from chat_agent.protocols.openai.conversation_items import ItemListQuery, Json, item_of, list_of
from chat_agent.protocols.openai.end_users import acting_as_owner
from chat_agent.protocols.openai.response_object import run_id_of
from chat_agent.runs import store, superseded

# As many as the conversation service gives at once.
MAX_INPUT_ITEMS = 1000


class ResponseUnfinished(Conflict):
    """The response is not finished, and would be written again."""

    default_detail = "The response is not finished. Cancel it first, or wait for its end."


async def find_response(session: AsyncSession, caller: Principal, response_id: str) -> Run:
    """Return the run of a response; raises RunNotFound, also for one that was not stored and is over."""
    run = await store.find(session, caller, run_id_of(response_id))
    if run.persistence == "none" and run.status in FINISHED:
        raise RunNotFound("There is no such response.")
    return run


async def delete(manager: RunManager, caller: Principal, run: Run) -> None:
    """Delete a response with its turn; its usage stays. Raises ResponseUnfinished."""
    if run.status not in FINISHED:
        raise ResponseUnfinished
    client = manager.conversation_client(acting_as_owner(caller, run))
    with suppress(ConversationNotFound):
        await client.delete_turn(TurnRef(run.conversation_id, run.id, run.attempt))
    await EventStore(manager.redis, run.id).delete(manager.settings.run_log_ttl_seconds)
    async with manager.database.begin() as session:
        await store.erase_content(session, run.id)
        await superseded.unmark(session, run)


async def input_items(manager: RunManager, caller: Principal, run: Run) -> list[Json]:
    """Return what the model was told for a response, oldest first: the history and its own input."""
    client = manager.conversation_client(acting_as_owner(caller, run))
    items = await client.items(run.conversation_id, MAX_INPUT_ITEMS, run.id)
    own = [item for item in items if is_of(run, item)]
    earlier = [item for item in items if not is_of(run, item)]
    return [item_of(item) for item in (*earlier, *own[: run.input_count])]


def is_of(run: Run, item: StoredItem) -> bool:
    """Return whether an item belongs to a run."""
    return item.id.startswith(f"{run.id}-")


def page_of(items: Sequence[Json], query: ItemListQuery) -> Json:
    """Return a page of items, which are the oldest first; raises ItemNotFound."""
    ordered = [*items] if query.order == "asc" else [*reversed(items)]
    if query.after is not None:
        ids = [item["id"] for item in ordered]
        if query.after not in ids:
            raise ItemNotFound
        ordered = ordered[ids.index(query.after) + 1 :]
    return list_of(ordered[: query.limit], has_more=len(ordered) > query.limit)

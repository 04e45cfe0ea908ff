"""Internal HTTP routes of conversation: for services, on behalf of the owner."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response, status
from servicekit.auth.dependencies import on_behalf_of
from servicekit.auth.tokens import Principal
from servicekit.database import Session
from servicekit.large_bodies import LargeBodyRoute
from servicekit.schemas import Cursor, Limit, Page, Time

from conversation import conversations, end_users, items, models, schemas, search, summaries, turns
from conversation.item_store import items_response
from conversation.quotas import QuotasDep

Reader = Annotated[Principal, on_behalf_of("conversations:read")]
Writer = Annotated[Principal, on_behalf_of("conversations:write")]

router = APIRouter(prefix="/internal/v1", tags=["conversations"], route_class=LargeBodyRoute)


@router.get("/conversations")
async def list_conversations(
    caller: Reader, db: Session, limit: Limit = 20, cursor: Cursor = None
) -> Page[schemas.NotedConversation]:
    """List conversations, also temporary ones, with what their application notes, the newest update first."""
    return await conversations.list_all(db, caller, limit, cursor)


@router.delete("/conversations")
async def delete_conversations(
    caller: Writer, db: Session, erased_before: Annotated[Time | None, Query()] = None
) -> schemas.Deleted:
    """Delete conversations with their items, 500 at most; repeat it until none is left.

    With `erased_before` runs that began until then create none any more.
    """
    if erased_before is not None:
        await end_users.record_erased(db, caller, erased_before)
    return await conversations.remove_batch(db, caller)


@router.get("/conversations/{conversation_id}", response_model=schemas.NotedConversation)
async def get_conversation(conversation_id: UUID, caller: Reader, db: Session) -> models.Conversation:
    """Return a conversation, with what its application notes about it."""
    return await conversations.find(db, caller, conversation_id)


@router.patch("/conversations/{conversation_id}", response_model=schemas.NotedConversation)
async def replace_notes(
    conversation_id: UUID, change: schemas.ConversationNotes, caller: Writer, db: Session
) -> models.Conversation:
    """Replace what an application notes about a conversation."""
    return await conversations.replace_notes(db, caller, conversation_id, change.notes)


@router.get("/conversations/{conversation_id}/item-list")
async def list_items_from(
    conversation_id: UUID, page: Annotated[schemas.ItemPage, Query()], caller: Reader, db: Session
) -> Page[schemas.Item]:
    """List the items in either order, after one of them; `next_cursor` is the id of the last."""
    return await items.list_from(db, caller, conversation_id, page)


@router.post(
    "/conversations/{conversation_id}/items",
    response_model=schemas.Items,
    max_body_size=schemas.MAX_TURN_BODY,
)
async def append_conversation_items(
    conversation_id: UUID, new: schemas.NewItems, caller: Writer, db: Session, quotas: QuotasDep
) -> Response:
    """Append items that are not of a run. An item that exists is not changed."""
    return items_response(await items.append(db, caller, conversation_id, new.items, quotas))


@router.get("/conversations/{conversation_id}/items/{item_id}", response_model=schemas.Item)
async def get_item(
    conversation_id: UUID, item_id: schemas.ItemId, caller: Reader, db: Session
) -> models.Item:
    """Return an item."""
    return await items.get(db, caller, conversation_id, item_id)


@router.delete("/conversations/{conversation_id}/items/{item_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_item(conversation_id: UUID, item_id: schemas.ItemId, caller: Writer, db: Session) -> None:
    """Delete an item; 404 the second time."""
    await items.remove(db, caller, conversation_id, item_id)


@router.put("/conversations/{conversation_id}", response_model=schemas.NotedConversation)
async def get_or_create_conversation(
    conversation_id: UUID,
    new: schemas.NewNamedConversation,
    caller: Writer,
    db: Session,
    quotas: QuotasDep,
) -> models.Conversation:
    """Return the conversation with this id, and create it if it does not exist."""
    return await conversations.get_or_create(db, caller, conversation_id, new, quotas)


@router.delete("/conversations/{conversation_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_conversation(conversation_id: UUID, caller: Writer, db: Session) -> None:
    """Delete a conversation and its items; 404 the second time."""
    await conversations.remove(db, caller, conversation_id)


@router.put(
    "/conversations/{conversation_id}/turns/{run_id}",
    response_model=schemas.Items,
    max_body_size=schemas.MAX_TURN_BODY,
)
async def begin_turn(  # noqa: PLR0913, PLR0917  # the parts of a request
    conversation_id: UUID,
    run_id: UUID,
    new: schemas.NewTurn,
    caller: Writer,
    db: Session,
    quotas: QuotasDep,
) -> Response:
    """Store the first items of a run, and return the newest items; create the conversation if needed.

    An item that exists is not changed; 409 if its content differs. From now on, older attempts of the run get
    409 `turn_superseded`.
    """
    return items_response(await turns.begin(db, caller, conversation_id, run_id, new, quotas))


@router.post(
    "/conversations/{conversation_id}/turns/{run_id}/items",
    response_model=schemas.Items,
    max_body_size=schemas.MAX_TURN_BODY,
)
async def append_items(  # noqa: PLR0913, PLR0917  # the parts of a request
    conversation_id: UUID,
    run_id: UUID,
    new: schemas.NewTurnItems,
    caller: Writer,
    db: Session,
    quotas: QuotasDep,
) -> Response:
    """Store more items of a run. An item that exists is not changed; 409 if its content differs."""
    return items_response(await turns.append(db, caller, conversation_id, run_id, new, quotas))


@router.delete("/conversations/{conversation_id}/turns/{run_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_turn(
    conversation_id: UUID,
    run_id: UUID,
    attempt: Annotated[int, Query(ge=1, le=schemas.MAX_ATTEMPT)],
    caller: Writer,
    db: Session,
) -> None:
    """Delete all items of a run, if there are any."""
    await turns.delete_items(db, caller, conversation_id, run_id, attempt)


@router.get("/conversations/{conversation_id}/items", response_model=schemas.Items)
async def list_newest_items(  # noqa: PLR0913, PLR0917  # the parts of a request
    conversation_id: UUID,
    caller: Reader,
    db: Session,
    last: Annotated[int, Query(ge=1, le=1000)] = 200,
    until_run: UUID | None = None,
    superseded_by: Annotated[
        UUID | None, Query(description="Include the items that this run has superseded.")
    ] = None,
) -> Response:
    """Return the newest items, or those until the end of a run, oldest first."""
    stored = await items.newest(db, caller, conversation_id, last, until_run, superseded_by)
    return items_response(stored)


@router.get("/conversations/{conversation_id}/item-page")
async def list_items(
    conversation_id: UUID, caller: Reader, db: Session, limit: Limit = 50, cursor: Cursor = None
) -> Page[schemas.Item]:
    """List the items, also superseded ones, oldest first."""
    return await items.list_page(db, caller, conversation_id, limit, cursor, include_superseded=True)


@router.delete("/conversations/{conversation_id}/items", status_code=status.HTTP_204_NO_CONTENT)
async def clear_items(conversation_id: UUID, caller: Writer, db: Session) -> None:
    """Delete all items; the conversation remains."""
    await items.clear(db, caller, conversation_id)


@router.get("/conversations/{conversation_id}/history", response_model=schemas.Items)
async def get_history(
    conversation_id: UUID,
    caller: Reader,
    db: Session,
    last: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Response:
    """Return what agents read: the current summary, and the newest of the items after it, oldest first."""
    return items_response(await summaries.history(db, caller, conversation_id, last))


@router.put("/conversations/{conversation_id}/summaries/{summary_id}", response_model=schemas.Item)
async def store_summary(  # noqa: PLR0913, PLR0917  # the parts of a request
    conversation_id: UUID,
    summary_id: schemas.ItemId,
    new: schemas.NewSummary,
    caller: Writer,
    db: Session,
    quotas: QuotasDep,
) -> models.Item:
    """Store a summary. One that exists is not changed; 409 if what it stands for has changed."""
    return await summaries.store(db, caller, conversation_id, summary_id, new, quotas)


@router.get("/search")
async def search_conversations(
    query: schemas.Query, caller: Reader, db: Session, limit: Limit = 20
) -> Page[schemas.SearchResult]:
    """Search the messages of the user on whose behalf the call is made, newest first."""
    return await search.search(db, caller, query, limit)

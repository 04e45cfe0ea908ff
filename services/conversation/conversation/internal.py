"""The internal addresses of conversation: for services, on behalf of the one whose conversations they are."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, status
from servicekit.auth import acting
from servicekit.database import Session
from servicekit.tokens import Principal
from servicekit.wire import Limit, Page

from conversation import conversations, items, models, schemas, search

Reader = Annotated[Principal, acting("conversations:read")]
Writer = Annotated[Principal, acting("conversations:write")]

router = APIRouter(prefix="/internal/v1", tags=["conversations"])


@router.put("/conversations/{conversation_id}", response_model=schemas.Conversation)
async def ensure_conversation(
    conversation_id: UUID, new: schemas.NewConversation, caller: Writer, session: Session
) -> models.Conversation:
    """Begin a conversation under this id, unless it is there; then it stays as it is."""
    return await conversations.ensure(session, caller, conversation_id, new.title)


@router.get("/conversations/{conversation_id}/items")
async def newest_items(
    conversation_id: UUID, caller: Reader, session: Session, last: Annotated[int, Query(ge=1, le=1000)] = 200
) -> schemas.Items:
    """Give the last so many items, oldest first."""
    return await items.newest(session, caller, conversation_id, last)


@router.post("/conversations/{conversation_id}/items")
async def append_items(
    conversation_id: UUID, new: schemas.NewItems, caller: Writer, session: Session
) -> schemas.Items:
    """Keep items. One whose id is there is left as it is, or 409 when it says something else."""
    return await items.append(session, caller, conversation_id, new.items)


@router.delete("/conversations/{conversation_id}/items/{item_id}", status_code=status.HTTP_204_NO_CONTENT)
async def remove_item(
    conversation_id: UUID, item_id: schemas.ItemId, caller: Writer, session: Session
) -> None:
    """Take an item out, if it is there."""
    await items.remove(session, caller, conversation_id, item_id)


@router.delete("/conversations/{conversation_id}/items", status_code=status.HTTP_204_NO_CONTENT)
async def clear_items(conversation_id: UUID, caller: Writer, session: Session) -> None:
    """Take all items out; the conversation stays."""
    await items.clear(session, caller, conversation_id)


@router.get("/search")
async def search_conversations(
    query: schemas.Query, caller: Reader, session: Session, limit: Limit = 20
) -> Page[schemas.Match]:
    """Find messages in all conversations of the one on whose behalf the call is, the newest first."""
    return await search.search(session, caller, query, limit)

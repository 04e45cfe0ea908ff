"""Public HTTP routes of conversation."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response, status
from servicekit.auth.dependencies import rate_limited, require
from servicekit.auth.tokens import Principal
from servicekit.database import Session
from servicekit.idempotency import IdempotentRoute
from servicekit.schemas import Cursor, Limit, Page

from conversation import conversations, items, models, schemas, search, summaries
from conversation.item_store import items_response
from conversation.quotas import QuotasDep

Reader = Annotated[Principal, require("conversations:read")]
Writer = Annotated[Principal, require("conversations:write")]
Deleter = Annotated[Principal, require("conversations:delete")]

router = APIRouter(prefix="/api/v1/conversations", tags=["conversations"], route_class=IdempotentRoute)


@router.post("", status_code=status.HTTP_201_CREATED, response_model=schemas.Conversation)
async def create_conversation(
    new: schemas.NewConversation, caller: Writer, db: Session, quotas: QuotasDep
) -> models.Conversation:
    """Create a conversation."""
    return await conversations.create(db, caller, new, quotas)


@router.get("")
async def list_conversations(
    caller: Reader, db: Session, limit: Limit = 20, cursor: Cursor = None
) -> Page[schemas.Conversation]:
    """List your conversations, the most recently updated first.

    A conversation that is updated while you page moves to the front; none is returned twice.
    """
    return await conversations.list_page(db, caller, limit, cursor)


@router.get("/search", dependencies=[rate_limited("searches")])
async def search_conversations(
    query: Annotated[schemas.Query, Query(description='Words, "a phrase", `or`, `-without`.')],
    caller: Reader,
    db: Session,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[schemas.SearchResult]:
    """Search the messages of your conversations, newest first."""
    return await search.search(db, caller, query, limit, cursor)


@router.get("/{conversation_id}")
async def get_conversation(conversation_id: UUID, caller: Reader, db: Session) -> schemas.ConversationDetail:
    """Return a conversation and its newest messages, at most 200."""
    return await conversations.get_detail(db, caller, conversation_id)


@router.patch("/{conversation_id}", response_model=schemas.Conversation)
async def rename_conversation(
    conversation_id: UUID, change: schemas.ConversationTitle, caller: Writer, db: Session
) -> models.Conversation:
    """Rename a conversation; its place in the list stays."""
    return await conversations.rename(db, caller, conversation_id, change.title)


@router.delete("/{conversation_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_conversation(conversation_id: UUID, caller: Deleter, db: Session) -> None:
    """Delete a conversation and its items; 404 the second time."""
    await conversations.remove(db, caller, conversation_id)


@router.get("/{conversation_id}/items")
async def list_items(  # noqa: PLR0913, PLR0917  # the parts of a request
    conversation_id: UUID,
    caller: Reader,
    db: Session,
    limit: Limit = 50,
    cursor: Cursor = None,
    include_superseded: Annotated[
        bool, Query(description="Include what an edit or a regeneration has superseded.")
    ] = False,
) -> Page[schemas.Item]:
    """List the items of a conversation, oldest first: messages, tool calls and their outputs, reasoning."""
    return await items.list_page(
        db, caller, conversation_id, limit, cursor, include_superseded=include_superseded
    )


@router.post("/{conversation_id}/items", response_model=schemas.Items, max_body_size=schemas.MAX_ITEMS_BODY)
async def append_items(
    conversation_id: UUID, new: schemas.NewItems, caller: Writer, db: Session, quotas: QuotasDep
) -> Response:
    """Append items. An item that exists is not changed; 409 if its content differs."""
    return items_response(await items.append(db, caller, conversation_id, new.items, quotas))


@router.patch("/{conversation_id}/summaries/{summary_id}", response_model=schemas.Item)
async def edit_summary(
    conversation_id: UUID,
    summary_id: schemas.ItemId,
    change: schemas.SummaryChange,
    caller: Writer,
    db: Session,
) -> models.Item:
    """Replace the text of a summary, which agents read in place of the items that it stands for."""
    return await summaries.edit(db, caller, conversation_id, summary_id, change.text)


@router.delete("/{conversation_id}/summaries/{summary_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_summary(
    conversation_id: UUID, summary_id: schemas.ItemId, caller: Writer, db: Session
) -> None:
    """Delete a summary: agents read again the items that it stands for."""
    await summaries.remove(db, caller, conversation_id, summary_id)

"""The public addresses of conversation."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response, status
from servicekit.auth.dependencies import rate_limited, require
from servicekit.auth.tokens import Principal
from servicekit.database import Session
from servicekit.idempotency import IdempotentRoute
from servicekit.schemas import Cursor, Limit, Page

from conversation import conversations, items, models, schemas, search
from conversation.item_store import answer
from conversation.quotas import CurrentQuotas

Reader = Annotated[Principal, require("conversations:read")]
Writer = Annotated[Principal, require("conversations:write")]
Remover = Annotated[Principal, require("conversations:delete")]

router = APIRouter(prefix="/api/v1/conversations", tags=["conversations"], route_class=IdempotentRoute)


@router.post("", status_code=status.HTTP_201_CREATED, response_model=schemas.Conversation)
async def begin_conversation(
    new: schemas.NewConversation, caller: Writer, session: Session, quotas: CurrentQuotas
) -> models.Conversation:
    """Begin a conversation."""
    return await conversations.create(session, caller, new.title, quotas)


@router.get("")
async def list_conversations(
    caller: Reader, session: Session, limit: Limit = 20, cursor: Cursor = None
) -> Page[schemas.Conversation]:
    """List your conversations, the ones with the newest items first.

    One that is added to while you turn the pages moves to the front, where you meet it when you begin again;
    none is shown twice.
    """
    return await conversations.page(session, caller, limit, cursor)


@router.get("/search", dependencies=[rate_limited("searches")])
async def search_conversations(
    query: Annotated[schemas.Query, Query(description='Words, "a phrase", `or`, `-without`.')],
    caller: Reader,
    session: Session,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[schemas.Match]:
    """Find messages in your conversations, the newest first."""
    return await search.search(session, caller, query, limit, cursor)


@router.get("/{conversation_id}")
async def read_conversation(
    conversation_id: UUID, caller: Reader, session: Session
) -> schemas.WholeConversation:
    """Read a conversation and its newest messages, 200 at most."""
    return await conversations.read(session, caller, conversation_id)


@router.delete("/{conversation_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_conversation(conversation_id: UUID, caller: Remover, session: Session) -> None:
    """Delete a conversation and all that was said in it. A second time there is none: 404."""
    await conversations.remove(session, caller, conversation_id)


@router.get("/{conversation_id}/items")
async def list_items(
    conversation_id: UUID, caller: Reader, session: Session, limit: Limit = 50, cursor: Cursor = None
) -> Page[schemas.Item]:
    """List the items of a conversation, oldest first: messages, tool calls and their outputs, reasoning."""
    return await items.page(session, caller, conversation_id, limit, cursor)


@router.post("/{conversation_id}/items", response_model=schemas.Items, max_body_size=schemas.MAX_ITEMS_BODY)
async def append_items(
    conversation_id: UUID, new: schemas.NewItems, caller: Writer, session: Session, quotas: CurrentQuotas
) -> Response:
    """Add items. One whose id is there is left as it is, or 409 when it says something else."""
    return answer(await items.append(session, caller, conversation_id, new.items, quotas))

"""The internal addresses of conversation: for services, on behalf of the one whose conversations they are."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response, status
from servicekit.auth.dependencies import on_behalf_of
from servicekit.auth.tokens import Principal
from servicekit.database import Session
from servicekit.schemas import Limit, Page

from conversation import conversations, items, models, schemas, search, turns
from conversation.item_store import answer
from conversation.quotas import CurrentQuotas

Reader = Annotated[Principal, on_behalf_of("conversations:read")]
Writer = Annotated[Principal, on_behalf_of("conversations:write")]

router = APIRouter(prefix="/internal/v1", tags=["conversations"])


@router.put("/conversations/{conversation_id}", response_model=schemas.Conversation)
async def ensure_conversation(
    conversation_id: UUID,
    new: schemas.NewConversation,
    caller: Writer,
    session: Session,
    quotas: CurrentQuotas,
) -> models.Conversation:
    """Begin a conversation under this id, unless it is there; then it stays as it is."""
    return await conversations.ensure(session, caller, conversation_id, new.title, quotas)


@router.put(
    "/conversations/{conversation_id}/turns/{run_id}",
    response_model=schemas.Items,
    max_body_size=schemas.MAX_ITEMS_BODY,
)
async def begin_turn(  # noqa: PLR0913, PLR0917  # the parts of a request
    conversation_id: UUID,
    run_id: UUID,
    new: schemas.NewTurn,
    caller: Writer,
    session: Session,
    quotas: CurrentQuotas,
) -> Response:
    """Keep what a run begins with, and give the conversation's last items; make it unless it is there.

    An item whose id is there is left as it is, or 409 when it says something else. From now on older attempts
    of the run are refused: 409 `turn_superseded`.
    """
    return answer(await turns.begin(session, caller, conversation_id, run_id, new, quotas))


@router.post(
    "/conversations/{conversation_id}/turns/{run_id}/items",
    response_model=schemas.Items,
    max_body_size=schemas.MAX_ITEMS_BODY,
)
async def append_items(  # noqa: PLR0913, PLR0917  # the parts of a request
    conversation_id: UUID,
    run_id: UUID,
    new: schemas.NewTurnItems,
    caller: Writer,
    session: Session,
    quotas: CurrentQuotas,
) -> Response:
    """Keep more of a run's items. One that is there is left as it is, or 409 when it says something else."""
    return answer(await turns.append(session, caller, conversation_id, run_id, new, quotas))


@router.delete("/conversations/{conversation_id}/turns/{run_id}", status_code=status.HTTP_204_NO_CONTENT)
async def forget_turn(
    conversation_id: UUID,
    run_id: UUID,
    attempt: Annotated[int, Query(ge=1, le=schemas.NEWEST_ATTEMPT)],
    caller: Writer,
    session: Session,
) -> None:
    """Take all items of a run out, if there are any."""
    await turns.forget(session, caller, conversation_id, run_id, attempt)


@router.get("/conversations/{conversation_id}/items", response_model=schemas.Items)
async def newest_items(
    conversation_id: UUID, caller: Reader, session: Session, last: Annotated[int, Query(ge=1, le=1000)] = 200
) -> Response:
    """Give the last so many items, oldest first."""
    return answer(await items.newest(session, caller, conversation_id, last))


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

"""Conversations: begun, listed, read and deleted, each by the one whose it is."""

from uuid import UUID

from servicekit import erasure
from servicekit.auth.tokens import Principal
from servicekit.schemas import Page
from sqlalchemy import ColumnElement, and_, delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from conversation import paging, schemas
from conversation.errors import ConversationUnknown
from conversation.item_store import Place
from conversation.models import Conversation, Item
from conversation.quotas import Quotas

MESSAGES_SHOWN = 200


def owned_by(caller: Principal) -> ColumnElement[bool]:
    """Narrow a query to what is the caller's: their own, and not their colleagues'."""
    return and_(Conversation.tenant_id == caller.tenant_id, Conversation.user_id == caller.user_id)


async def find(
    session: AsyncSession, caller: Principal, conversation_id: UUID, *, lock: bool = False
) -> Conversation:
    """Give one of the caller's conversations, locked if asked; raises ConversationUnknown."""
    wanted = select(Conversation).where(owned_by(caller), Conversation.id == conversation_id)
    conversation = await session.scalar(wanted.with_for_update() if lock else wanted)
    if conversation is None:
        raise ConversationUnknown
    return conversation


async def lock(session: AsyncSession, caller: Principal, conversation_id: UUID) -> Place:
    """Lock one of the caller's conversations, so that items may be added; raises ConversationUnknown."""
    wanted = select(Conversation.last_position).where(owned_by(caller), Conversation.id == conversation_id)
    position = await session.scalar(wanted.with_for_update())
    if position is None:
        raise ConversationUnknown
    return Place(conversation_id, position)


async def create(session: AsyncSession, caller: Principal, title: str | None, quotas: Quotas) -> Conversation:
    """Begin a conversation; raises ConversationLimitReached."""
    conversation = Conversation(tenant_id=caller.tenant_id, user_id=caller.user_id, title=title)
    session.add(conversation)
    await session.flush()
    await quotas.check_new_conversation(session, caller)
    return conversation


async def ensure(
    session: AsyncSession, caller: Principal, conversation_id: UUID, title: str | None, quotas: Quotas
) -> Conversation:
    """Begin a conversation under an id of the caller's choice, unless it is there; then it stays as it is.

    Raises ConversationLimitReached, and ConversationUnknown, also to whoever acts for somebody who has left.
    """
    if await session.scalar(erasure.is_deleted_user(caller.user_id)):
        raise ConversationUnknown
    row = {"id": conversation_id, "tenant_id": caller.tenant_id, "user_id": caller.user_id, "title": title}
    added = insert(Conversation).values(row).on_conflict_do_nothing().returning(Conversation.id)
    if await session.scalar(added) is not None:
        await quotas.check_new_conversation(session, caller)
    return await find(session, caller, conversation_id)


async def page(
    session: AsyncSession, caller: Principal, limit: int, cursor: str | None
) -> Page[schemas.Conversation]:
    """List the caller's conversations, the ones with the newest items first."""
    order = (Conversation.updated_at, Conversation.id)
    wanted = select(Conversation).where(owned_by(caller)).order_by(*(column.desc() for column in order))
    if cursor is not None:
        wanted = wanted.where(tuple_(*order) < tuple_(*paging.place(cursor, paging.BY_UPDATE, str, str)))
    rows = (await session.scalars(wanted.limit(limit + 1))).all()
    conversations = [schemas.Conversation.model_validate(row) for row in rows[:limit]]
    return Page(items=conversations, next_cursor=paging.after(rows, limit, "updated_at", "id"))


async def read(session: AsyncSession, caller: Principal, conversation_id: UUID) -> schemas.WholeConversation:
    """Give a conversation and its newest messages."""
    conversation = await find(session, caller, conversation_id)
    newest = (
        select(Item)
        .where(Item.conversation_id == conversation.id, Item.role.is_not(None))
        .order_by(Item.position.desc())
        .limit(MESSAGES_SHOWN)
    )
    messages = [schemas.Message.model_validate(item) for item in await session.scalars(newest)]
    seen = schemas.Conversation.model_validate(conversation)
    return schemas.WholeConversation(**seen.model_dump(), messages=messages[::-1])


async def remove(session: AsyncSession, caller: Principal, conversation_id: UUID) -> None:
    """Delete a conversation and all that was said in it; raises ConversationUnknown."""
    gone = delete(Conversation).where(owned_by(caller), Conversation.id == conversation_id)
    if await session.scalar(gone.returning(Conversation.id)) is None:
        raise ConversationUnknown

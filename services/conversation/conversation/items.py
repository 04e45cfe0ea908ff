"""Items of conversations: each is kept once, at a position of its own, in the order in which they came."""

from collections.abc import Sequence
from uuid import UUID

from servicekit.auth.tokens import Principal
from servicekit.schemas import Page
from sqlalchemy import Text, cast, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from conversation import paging, schemas
from conversation.conversations import find, lock
from conversation.item_store import LAST_MESSAGE_LENGTH, Kept, keep, offer, shortened
from conversation.models import Conversation, Item, Usage
from conversation.quotas import Quotas


async def append(
    session: AsyncSession,
    caller: Principal,
    conversation_id: UUID,
    given: Sequence[schemas.NewItem],
    quotas: Quotas,
) -> list[Kept]:
    """Keep items, in the order given; one that is there already is left as it is.

    Raises ItemTooLarge, ConversationLimitReached, and ItemConflict when the one that is there says something
    else.
    """
    offered = [offer(item) for item in given]
    kept = await keep(session, await lock(session, caller, conversation_id), offered, quotas)
    return [kept[item.id] for item in given]


async def newest(session: AsyncSession, caller: Principal, conversation_id: UUID, last: int) -> list[Kept]:
    """Give the last so many items, oldest first."""
    conversation = await find(session, caller, conversation_id)
    columns = (Item.id, Item.position, cast(Item.data, Text), Item.created_at)
    wanted = select(*columns).where(Item.conversation_id == conversation.id).order_by(Item.position.desc())
    return [Kept(*row) for row in await session.execute(wanted.limit(last))][::-1]


async def page(
    session: AsyncSession, caller: Principal, conversation_id: UUID, limit: int, cursor: str | None
) -> Page[schemas.Item]:
    """List a conversation's items, oldest first."""
    conversation = await find(session, caller, conversation_id)
    wanted = select(Item).where(Item.conversation_id == conversation.id).order_by(Item.position)
    if cursor is not None:
        wanted = wanted.where(Item.position > paging.place(cursor, paging.BY_POSITION, int)[0])
    rows = (await session.scalars(wanted.limit(limit + 1))).all()
    items = [schemas.Item.model_validate(row) for row in rows[:limit]]
    return Page(items=items, next_cursor=paging.after(rows, limit, "position"))


async def clear(session: AsyncSession, caller: Principal, conversation_id: UUID) -> None:
    """Take all items out; the conversation stays."""
    conversation = await find(session, caller, conversation_id, lock=True)
    await session.execute(delete(Item).where(Item.conversation_id == conversation.id))
    await recount(session, conversation, conversation.item_count, conversation.byte_count)


async def recount(session: AsyncSession, conversation: Conversation, items: int, size: int) -> None:
    """Let the conversation tell of the messages that are left, without so many items of so many bytes."""
    theirs = (Usage.tenant_id == conversation.tenant_id, Usage.user_id == conversation.user_id)
    await session.execute(update(Usage).where(*theirs).values(bytes=Usage.bytes - size))
    conversation.item_count -= items
    conversation.byte_count -= size
    messages = select(Item.text).where(Item.conversation_id == conversation.id, Item.role.is_not(None))
    count = await session.scalar(select(func.count()).select_from(messages.subquery()))
    text = await session.scalar(messages.order_by(Item.position.desc()).limit(1))
    conversation.message_count = count or 0
    conversation.last_message = shortened(text, LAST_MESSAGE_LENGTH) if text else None
    conversation.updated_at = func.clock_timestamp()

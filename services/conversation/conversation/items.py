"""Items of conversations: each is kept once, at a position of its own, in the order in which they came."""

import json
from collections.abc import Sequence
from uuid import UUID

from servicekit.tokens import Principal
from servicekit.wire import Page
from sqlalchemy import Text, column, delete, func, select, values
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from conversation import paging, schemas
from conversation.conversations import find
from conversation.errors import ItemConflict, ItemTooLarge
from conversation.messages import said
from conversation.models import Conversation, Item

MAX_ITEM_BYTES = 256 * 1024
TITLE_LENGTH = 80
LAST_MESSAGE_LENGTH = 120


async def append(
    session: AsyncSession, caller: Principal, conversation_id: UUID, given: Sequence[schemas.NewItem]
) -> schemas.Items:
    """Keep items, in the order given; one that is there already is left as it is.

    Raises ItemTooLarge, and ItemConflict when the one that is there says something else.
    """
    refuse_large(given)
    # The lock is what makes positions follow one another without a hole, whoever else is writing.
    conversation = await find(session, caller, conversation_id, lock=True)
    kept = await already_kept(session, conversation, given)
    fresh = [enter(conversation, item) for item in given if item.id not in kept]
    session.add_all(fresh)
    await session.flush()
    kept |= {item.id: item for item in fresh}
    return schemas.Items(items=[schemas.Item.model_validate(kept[item.id]) for item in given])


def refuse_large(given: Sequence[schemas.NewItem]) -> None:
    """Refuse an item that is larger than one may be."""
    for item in given:
        if len(json.dumps(item.data, ensure_ascii=False).encode()) > MAX_ITEM_BYTES:
            raise ItemTooLarge(f"An item may have {MAX_ITEM_BYTES} bytes at most.", item_id=item.id)


async def already_kept(
    session: AsyncSession, conversation: Conversation, given: Sequence[schemas.NewItem]
) -> dict[str, Item]:
    """Find the items that are there already; raises ItemConflict."""
    # Postgres compares: which numbers are equal is its own idea, already applied to what it keeps.
    named = values(column("id", Text), column("data", JSONB), name="offered")
    offered = named.data([(item.id, item.data) for item in given])
    rows = await session.execute(
        select(Item, Item.data == offered.c.data)
        .join(offered, offered.c.id == Item.id)
        .where(Item.conversation_id == conversation.id)
    )
    kept: dict[str, Item] = {}
    for item, is_same in rows:
        if not is_same:
            raise ItemConflict(item_id=item.id)
        kept[item.id] = item
    return kept


def enter(conversation: Conversation, new: schemas.NewItem) -> Item:
    """Give an item the next position, and let the conversation tell of it."""
    conversation.last_position += 1
    conversation.updated_at = func.clock_timestamp()
    role, text = said(new.data) or (None, None)
    if text is not None:
        conversation.message_count += 1
        conversation.last_message = shortened(text, LAST_MESSAGE_LENGTH)
        if role == "user" and conversation.title is None:
            conversation.title = shortened(text, TITLE_LENGTH)
    position = conversation.last_position
    return Item(
        conversation_id=conversation.id, position=position, id=new.id, data=new.data, role=role, text=text
    )


def shortened(text: str, length: int) -> str:
    """Give the beginning of a text, on one line."""
    return schemas.on_one_line(text)[:length].rstrip()


async def newest(session: AsyncSession, caller: Principal, conversation_id: UUID, last: int) -> schemas.Items:
    """Give the last so many items, oldest first."""
    conversation = await find(session, caller, conversation_id)
    wanted = select(Item).where(Item.conversation_id == conversation.id).order_by(Item.position.desc())
    items = [schemas.Item.model_validate(item) for item in await session.scalars(wanted.limit(last))]
    return schemas.Items(items=items[::-1])


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


async def remove(session: AsyncSession, caller: Principal, conversation_id: UUID, item_id: str) -> None:
    """Take an item out, if it is there; its position stays empty."""
    conversation = await find(session, caller, conversation_id, lock=True)
    await session.execute(delete(Item).where(Item.conversation_id == conversation.id, Item.id == item_id))
    await recount(session, conversation)


async def clear(session: AsyncSession, caller: Principal, conversation_id: UUID) -> None:
    """Take all items out; the conversation stays."""
    conversation = await find(session, caller, conversation_id, lock=True)
    await session.execute(delete(Item).where(Item.conversation_id == conversation.id))
    await recount(session, conversation)


async def recount(session: AsyncSession, conversation: Conversation) -> None:
    """Let the conversation tell of the messages that are left."""
    messages = select(Item.text).where(Item.conversation_id == conversation.id, Item.role.is_not(None))
    count = await session.scalar(select(func.count()).select_from(messages.subquery()))
    text = await session.scalar(messages.order_by(Item.position.desc()).limit(1))
    conversation.message_count = count or 0
    conversation.last_message = shortened(text, LAST_MESSAGE_LENGTH) if text else None
    conversation.updated_at = func.clock_timestamp()

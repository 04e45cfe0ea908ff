"""Append, list and delete the items of a conversation."""

from collections.abc import Sequence
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, TypeAdapter
from servicekit.auth.tokens import Principal
from servicekit.pagination import read_cursor
from servicekit.schemas import Page, encode_cursor
from sqlalchemy import ColumnElement, Text, UnaryExpression, cast, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from conversation import schemas
from conversation.conversations import find, lock
from conversation.errors import ItemNotFound
from conversation.item_store import LAST_MESSAGE_LENGTH, StoredItem, insert_items, prepare, truncate
from conversation.models import Conversation, Item, Usage
from conversation.quotas import Quotas

# What the column holds; a larger number would not reach the database.
Position = Annotated[int, Field(ge=0, lt=2**31)]
BY_POSITION = TypeAdapter(tuple[Position])


async def append(
    db: AsyncSession,
    caller: Principal,
    conversation_id: UUID,
    new_items: Sequence[schemas.NewItem],
    quotas: Quotas,
) -> list[StoredItem]:
    """Append items in this order; an item that exists is not changed.

    Raise ItemTooLarge, ConversationLimitReached, and ItemConflict when the content of one that exists
    differs.
    """
    rows = [prepare(item) for item in new_items]
    stored = await insert_items(db, await lock(db, caller, conversation_id), rows, quotas)
    return [stored[item.id] for item in new_items]


async def newest(  # noqa: PLR0913, PLR0917  # whose, where, and which of them
    db: AsyncSession,
    caller: Principal,
    conversation_id: UUID,
    last: int,
    until_run: UUID | None = None,
    superseded_by: UUID | None = None,
) -> list[StoredItem]:
    """Return the newest items without summaries, or those until the end of a run, oldest first.

    Items that a run has superseded are left out unless it is `superseded_by`.
    """
    conversation = await find(db, caller, conversation_id)
    conditions = [or_(Item.superseded_by.is_(None), Item.superseded_by == superseded_by)]
    if until_run is not None:
        end = select(func.max(Item.position)).where(
            Item.conversation_id == conversation.id, Item.id.startswith(f"{until_run}-")
        )
        conditions.append(Item.position <= end.scalar_subquery())
    return await newest_of(db, conversation, last, *conditions)


async def newest_of(
    db: AsyncSession,
    conversation: Conversation,
    last: int,
    *conditions: ColumnElement[bool],
    kind: Literal["item", "summary"] = "item",
) -> list[StoredItem]:
    """Return the newest items of a kind that meet conditions, oldest first."""
    columns = (Item.id, Item.position, cast(Item.data, Text), Item.created_at, Item.superseded_by)
    positions = (Item.summary_from, Item.summary_until)
    is_of_kind = Item.summary_until.is_(None) if kind == "item" else Item.summary_until.is_not(None)
    query = select(*columns, *positions).where(
        Item.conversation_id == conversation.id, is_of_kind, *conditions
    )
    rows = await db.execute(query.order_by(Item.position.desc()).limit(last))
    return [StoredItem(*row) for row in rows][::-1]


async def get(db: AsyncSession, caller: Principal, conversation_id: UUID, item_id: str) -> Item:
    """Return an item; raise ConversationNotFound, ItemNotFound."""
    conversation = await find(db, caller, conversation_id)
    query = select(Item).where(Item.conversation_id == conversation.id, Item.id == item_id)
    item = await db.scalar(query)
    if item is None:
        raise ItemNotFound
    return item


async def remove(db: AsyncSession, caller: Principal, conversation_id: UUID, item_id: str) -> None:
    """Delete an item, and the summaries that stand for it; raise ConversationNotFound, ItemNotFound."""
    conversation = await find(db, caller, conversation_id, lock=True)
    size = func.octet_length(cast(Item.data, Text))
    deletion = delete(Item).where(Item.conversation_id == conversation.id, Item.id == item_id)
    deleted = [*await db.execute(deletion.returning(Item.position, size))]
    if not deleted:
        raise ItemNotFound
    position, _ = deleted[0]
    covers_item = Item.summary_from <= position, Item.summary_until >= position
    summaries = delete(Item).where(Item.conversation_id == conversation.id, *covers_item)
    deleted += await db.execute(summaries.returning(Item.position, size))
    await refresh_summary(db, conversation, len(deleted), sum(size for _, size in deleted))
    await refresh_current(db, conversation)


async def list_from(
    db: AsyncSession, caller: Principal, conversation_id: UUID, page: schemas.ItemPage
) -> Page[schemas.Item]:
    """List a conversation's items in either order, after one of them; raise ItemNotFound."""
    conversation = await find(db, caller, conversation_id)
    order = Item.position.desc() if page.order == "desc" else Item.position.asc()
    conditions: list[ColumnElement[bool]] = [Item.superseded_by.is_(None), Item.summary_until.is_(None)]
    if page.after is not None:
        start = (await get(db, caller, conversation_id, page.after)).position
        conditions.append(Item.position < start if page.order == "desc" else Item.position > start)
    items, has_more = await load_page(db, conversation, order, page.limit, *conditions)
    return Page(items=items, next_cursor=items[-1].id if has_more else None)


async def list_page(  # noqa: PLR0913  # whose, where, and which of them
    db: AsyncSession,
    caller: Principal,
    conversation_id: UUID,
    limit: int,
    cursor: str | None,
    *,
    include_superseded: bool = False,
) -> Page[schemas.Item]:
    """List a conversation's items, oldest first."""
    conversation = await find(db, caller, conversation_id)
    conditions: list[ColumnElement[bool]] = []
    if not include_superseded:
        conditions.append(Item.superseded_by.is_(None))
    if cursor is not None:
        conditions.append(Item.position > read_cursor(cursor, BY_POSITION, int)[0])
    items, has_more = await load_page(db, conversation, Item.position.asc(), limit, *conditions)
    return Page(items=items, next_cursor=encode_cursor(items[-1].position) if has_more else None)


async def load_page(
    db: AsyncSession,
    conversation: Conversation,
    order: UnaryExpression[int],
    limit: int,
    *conditions: ColumnElement[bool],
) -> tuple[list[schemas.Item], bool]:
    """Return the first items that meet conditions, and whether there are more.

    They are at most `limit`, and as many as fit into MAX_PAGE_BYTES, but at least one.
    """
    size = func.octet_length(cast(Item.data, Text))
    page = (
        select(
            Item.position,
            func.row_number().over(order_by=order).label("number"),
            func.sum(size).over(order_by=order).label("total"),
        )
        .where(Item.conversation_id == conversation.id, *conditions)
        .order_by(order)
        .limit(limit + 1)
        .cte("page")
    )
    fits = (page.c.number == 1) | (page.c.total <= schemas.MAX_PAGE_BYTES)
    found = select(func.count()).select_from(page).scalar_subquery()
    query = (
        select(Item, found)
        .join(page, (Item.conversation_id == conversation.id) & (Item.position == page.c.position))
        .where(page.c.number <= limit, fits)
        .order_by(order)
    )
    rows = (await db.execute(query)).all()
    return [schemas.Item.model_validate(item) for item, _ in rows], bool(rows) and rows[0][1] > len(rows)


async def clear(db: AsyncSession, caller: Principal, conversation_id: UUID) -> None:
    """Delete all items; the conversation remains."""
    conversation = await find(db, caller, conversation_id, lock=True)
    await db.execute(delete(Item).where(Item.conversation_id == conversation.id))
    await refresh_summary(db, conversation, conversation.item_count, conversation.byte_count)
    await refresh_current(db, conversation)


async def refresh_current(db: AsyncSession, conversation: Conversation) -> None:
    """Store with a conversation which summary agents read: the newest that is not superseded."""
    summaries = select(Item.position, Item.summary_until).where(
        Item.conversation_id == conversation.id,
        Item.summary_until.is_not(None),
        Item.superseded_by.is_(None),
    )
    newest = (await db.execute(summaries.order_by(Item.position.desc()).limit(1))).one_or_none()
    conversation.summary_position = newest.position if newest else None
    conversation.summary_until = newest.summary_until if newest else 0


async def refresh_summary(db: AsyncSession, conversation: Conversation, items: int, size: int) -> None:
    """Update the summary of a conversation after so many items and bytes were deleted or superseded."""
    owner = (Usage.tenant_id == conversation.tenant_id, Usage.user_id == conversation.user_id)
    await db.execute(update(Usage).where(*owner).values(bytes=Usage.bytes - size))
    conversation.item_count -= items
    conversation.byte_count -= size
    current = Item.conversation_id == conversation.id, Item.superseded_by.is_(None)
    messages = select(Item.text).where(*current, Item.role.is_not(None))
    count = await db.scalar(select(func.count()).select_from(messages.subquery()))
    text = await db.scalar(messages.order_by(Item.position.desc()).limit(1))
    conversation.message_count = count or 0
    conversation.last_message = truncate(text, LAST_MESSAGE_LENGTH) if text else None
    conversation.updated_at = func.clock_timestamp()

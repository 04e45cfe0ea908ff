"""Summaries: items that agents read in place of others, which remain.

The current one of a conversation is the newest that no edit has superseded. Its positions are stored with the
conversation, so that a turn begins without another query.
"""

from collections.abc import Iterable
from uuid import UUID

from servicekit.auth.tokens import Principal
from sqlalchemy import ColumnElement, Text, and_, cast, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from conversation import item_store
from conversation.conversations import find, lock
from conversation.errors import HistoryChanged, SummaryNotFound
from conversation.item_store import StoredItem
from conversation.items import newest_of, refresh_current, refresh_summary
from conversation.models import Conversation, Item
from conversation.quotas import RUN_FACTOR, Quotas
from conversation.schemas import NewItem, NewSummary


def content(text: str) -> dict[str, str]:
    """Return what a summary is stored as: no message, so that lists and searches of messages leave it out."""
    return {"type": "summary", "text": text}


def is_summary(conversation: Conversation, summary_id: str) -> ColumnElement[bool]:
    """Return the condition that a row is a summary of a conversation."""
    return and_(
        Item.conversation_id == conversation.id, Item.id == summary_id, Item.summary_until.is_not(None)
    )


async def store(  # noqa: PLR0913, PLR0917  # whose, where, and what
    db: AsyncSession,
    caller: Principal,
    conversation_id: UUID,
    summary_id: str,
    new: NewSummary,
    quotas: Quotas,
) -> Item:
    """Store a summary; one that exists is not changed.

    Raise ConversationNotFound, HistoryChanged, ItemConflict and ConversationLimitReached.
    """
    append_lock = await lock(db, caller, conversation_id)
    conversation = await find(db, caller, conversation_id)
    stored = await db.scalar(select(Item).where(is_summary(conversation, summary_id)))
    if stored is not None:
        return stored
    await check_unchanged(db, conversation, new)
    row = item_store.prepare(NewItem(id=summary_id, data={**content(new.text)}))
    await item_store.insert_items(db, append_lock, [row], quotas, factor=RUN_FACTOR)
    own = update(Item).where(Item.conversation_id == conversation.id, Item.id == summary_id)
    await db.execute(own.values(summary_from=new.first_position, summary_until=new.last_position))
    await db.refresh(conversation)
    await refresh_current(db, conversation)
    return await get(db, conversation, summary_id)


async def check_unchanged(db: AsyncSession, conversation: Conversation, new: NewSummary) -> None:
    """Raise HistoryChanged when the items of a new summary are not those that its writer has read."""
    query = select(Item.id).where(Item.conversation_id == conversation.id)
    current = await db.scalar(query.where(Item.position == conversation.summary_position))
    items = select(func.count()).where(
        Item.conversation_id == conversation.id,
        Item.position.between(max(new.first_position, conversation.summary_until + 1), new.last_position),
        Item.superseded_by.is_(None),
        Item.summary_until.is_(None),
    )
    if current != new.replaces or await db.scalar(items) != new.item_count:
        raise HistoryChanged


async def get(db: AsyncSession, conversation: Conversation, summary_id: str) -> Item:
    """Return a summary; raise SummaryNotFound."""
    summary = await db.scalar(select(Item).where(is_summary(conversation, summary_id)))
    if summary is None:
        raise SummaryNotFound
    return summary


async def edit(
    db: AsyncSession, caller: Principal, conversation_id: UUID, summary_id: str, text: str
) -> Item:
    """Replace the text of a summary; raise ConversationNotFound, SummaryNotFound."""
    conversation = await find(db, caller, conversation_id, lock=True)
    summary = await get(db, conversation, summary_id)
    size = select(func.octet_length(cast(Item.data, Text))).where(is_summary(conversation, summary_id))
    before = await db.scalar(size) or 0
    summary.data = {**content(text)}
    await db.flush()
    await refresh_summary(db, conversation, 0, before - (await db.scalar(size) or 0))
    return summary


async def remove(db: AsyncSession, caller: Principal, conversation_id: UUID, summary_id: str) -> None:
    """Delete a summary: agents read its items again; raise ConversationNotFound, SummaryNotFound."""
    conversation = await find(db, caller, conversation_id, lock=True)
    size = func.octet_length(cast(Item.data, Text))
    deletion = delete(Item).where(is_summary(conversation, summary_id))
    deleted = await db.scalar(deletion.returning(size))
    if deleted is None:
        raise SummaryNotFound
    await refresh_summary(db, conversation, 1, deleted)
    await refresh_current(db, conversation)


async def history(db: AsyncSession, caller: Principal, conversation_id: UUID, last: int) -> list[StoredItem]:
    """Return what agents read: the current summary, and the newest of the items after it, oldest first."""
    conversation = await find(db, caller, conversation_id)
    items = [await newest_of(db, conversation, last, Item.position > conversation.summary_until)]
    if conversation.summary_position is not None:
        own = Item.position == conversation.summary_position
        items.insert(0, await newest_of(db, conversation, 1, own, kind="summary"))
    return [item for part in items for item in part]


def first_summary(items: Iterable[StoredItem], last: int) -> list[StoredItem]:
    """Return the newest of the items, oldest first, after the summary if there is one."""
    in_order = sorted(items, key=lambda item: item.position)
    summary = [item for item in in_order if item.kind == "summary"]
    return [*summary, *[item for item in in_order if item.kind == "item"][-last:]]

"""How items come into a conversation: written down once, each at the next position, in one statement."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from fastapi import Response
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from conversation import schemas
from conversation.errors import ItemConflict, ItemTooLarge
from conversation.quotas import ConversationSize, Quotas
from conversation.sdk_items import message_text

MAX_ITEM_BYTES = 256 * 1024
TITLE_LENGTH = 80
LAST_MESSAGE_LENGTH = 120

# The last items of before, which are what a statement sees that does not see what itself is writing, and then
# the new ones. The lock on the conversation is what makes positions follow one another without a hole.
INSERT = text("""
    with new_rows as (
        select id, cast(data as jsonb) as data, role, text, number
        from unnest(
            cast(:ids as text[]), cast(:data as text[]), cast(:roles as text[]), cast(:texts as text[])
        ) with ordinality as new_rows (id, data, role, text, number)
    ), inserted as (
        insert into items (conversation_id, position, id, data, role, text)
        select cast(:conversation_id as uuid), :last_position + row_number() over (order by number),
            id, data, role, text
        from new_rows
        where id not in (select id from items where conversation_id = :conversation_id and id = any(:ids))
        returning id, position, data, created_at
    ), previous as (
        select id, position, data, created_at from items
        where conversation_id = :conversation_id
        order by position desc limit :last
    )
    select id, position, cast(data as text), created_at
    from (table previous union all table inserted) as stored
    order by position
""")
UPDATE_SUMMARY = text("""
    with updated as (
        update conversations
        set last_position = last_position + :items, message_count = message_count + :messages,
            last_message = coalesce(:last_message, last_message), title = coalesce(title, :title),
            item_count = item_count + :items, byte_count = byte_count + :bytes, updated_at = clock_timestamp()
        where id = :conversation_id
        returning tenant_id, user_id, item_count, byte_count
    ), counted as (
        update usage set bytes = usage.bytes + :bytes from updated
        where usage.tenant_id = updated.tenant_id and usage.user_id = updated.user_id
    )
    select tenant_id, item_count, byte_count from updated
""")
# Postgres compares: which numbers are equal is its own idea, already applied to what it keeps.
COMPARE = text("""
    select items.id, position, cast(items.data as text), created_at, items.data = cast(new_rows.data as jsonb)
    from items join unnest(cast(:ids as text[]), cast(:data as text[])) as new_rows (id, data)
        on items.id = new_rows.id
    where conversation_id = :conversation_id
""")


class AppendLock(NamedTuple):
    """Where items may be added: a conversation that is locked, and its last position."""

    conversation_id: UUID
    last_position: int


class NewRow(NamedTuple):
    """An item to keep: its data as JSON, and who says what in it, if anybody says anything."""

    id: str
    data: str
    role: str | None
    text: str | None


class StoredItem(NamedTuple):
    """An item as it is kept; its data is JSON, as Postgres writes it."""

    id: str
    position: int
    data: str
    created_at: datetime


def prepare(item: schemas.NewItem) -> NewRow:
    """Write an item down; raises ItemTooLarge."""
    data = json.dumps(item.data, ensure_ascii=False)
    if len(data.encode()) > MAX_ITEM_BYTES:
        raise ItemTooLarge(f"An item may have {MAX_ITEM_BYTES} bytes at most.", item_id=item.id)
    role, content = message_text(item.data) or (None, None)
    return NewRow(item.id, data, role, content)


async def insert_items(  # noqa: PLR0913  # where, what, and within which limits
    db: AsyncSession,
    lock: AppendLock,
    new_rows: Sequence[NewRow],
    quotas: Quotas,
    *,
    last: int = 0,
    factor: float = 1,
) -> dict[str, StoredItem]:
    """Keep items, and give them and the last so many of before, by their ids.

    One that is there already is left as it is. Raises ItemConflict when it says something else, and
    ConversationLimitReached when `factor` times the limits are exceeded.
    """
    # The columns of what is offered, also when there is nothing.
    ids, data, roles, texts = ([row[column] for row in new_rows] for column in range(len(NewRow._fields)))
    values = {"ids": ids, "data": data, "roles": roles, "texts": texts, "last": last}
    rows = [StoredItem(*row) for row in await db.execute(INSERT, values | lock._asdict())]
    inserted = {row.id: row for row in rows if row.position > lock.last_position}
    if repeated := [row for row in new_rows if row.id not in inserted]:
        rows += await load_unchanged(db, lock.conversation_id, repeated)
    if inserted:
        size = sum(len(row.data.encode()) for row in inserted.values())
        added = [row for row in new_rows if row.id in inserted]
        total = await update_summary(db, lock.conversation_id, added, size)
        await quotas.check_new_items(db, total, factor)
    return {row.id: row for row in rows}


async def load_unchanged(
    db: AsyncSession, conversation_id: UUID, repeated: Sequence[NewRow]
) -> list[StoredItem]:
    """Give items as they are kept; raises ItemConflict when one of them says something else."""
    values = {"ids": [row.id for row in repeated], "data": [row.data for row in repeated]}
    stored: list[StoredItem] = []
    for *columns, is_same in await db.execute(COMPARE, {"conversation_id": conversation_id, **values}):
        stored.append(StoredItem(*columns))
        if not is_same:
            raise ItemConflict(item_id=stored[-1].id)
    return stored


async def update_summary(
    db: AsyncSession, conversation_id: UUID, added: Sequence[NewRow], size: int
) -> ConversationSize:
    """Let a conversation tell of its new items, of so many bytes; return its size by now."""
    texts = [row.text for row in added if row.text is not None]
    user_texts = [row.text for row in added if row.text is not None and row.role == "user"]
    values = {
        "items": len(added),
        "bytes": size,
        "messages": len(texts),
        "last_message": truncate(texts[-1], LAST_MESSAGE_LENGTH) if texts else None,
        "title": title_from(user_texts[0]) if user_texts else None,
    }
    result = await db.execute(UPDATE_SUMMARY, {"conversation_id": conversation_id, **values})
    return ConversationSize(*result.one())


def title_from(message: str) -> str:
    """Give the title that a conversation takes from the first thing that the user says."""
    return truncate(message, TITLE_LENGTH)


def truncate(text: str, length: int) -> str:
    """Give the beginning of a text, on one line."""
    return schemas.single_line(text)[:length].rstrip()


def items_response(stored: Sequence[StoredItem]) -> Response:
    """Answer with `schemas.Items`; what Postgres wrote goes out without being read and written again."""
    items: list[dict[str, Any]] = [{**item._asdict(), "data": orjson.Fragment(item.data)} for item in stored]
    return Response(orjson.dumps({"items": items}, option=orjson.OPT_UTC_Z), media_type="application/json")

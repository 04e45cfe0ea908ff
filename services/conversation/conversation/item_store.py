"""Store items of a conversation: each once, at the next position, in one statement."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

import orjson
from fastapi import Response
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from conversation import schemas
from conversation.errors import ItemConflict, ItemTooLarge
from conversation.quotas import ConversationSize, Quotas
from conversation.sdk_items import message_text

TITLE_LENGTH = 80
LAST_MESSAGE_LENGTH = 120

# Return the previous items, which are all that a statement sees of its own table, and the inserted ones. The
# lock on the conversation makes positions consecutive.
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
        returning id, position, data, created_at, summary_from, summary_until
    ), newest as (
        select id, position, data, created_at, summary_from, summary_until from items
        where conversation_id = :conversation_id and superseded_by is null and summary_until is null
            and position > :summary_until
        order by position desc limit :last
    ), previous as (
        table newest union all
        select id, position, data, created_at, summary_from, summary_until from items
        where conversation_id = :conversation_id and position = cast(:summary_position as integer)
    )
    select id, position, cast(data as text), created_at, cast(null as uuid), summary_from, summary_until
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
# Postgres compares, since it normalizes numbers when it stores JSON.
COMPARE = text("""
    select items.id, position, cast(items.data as text), created_at, superseded_by, summary_from,
        summary_until, items.data = cast(new_rows.data as jsonb)
    from items join unnest(cast(:ids as text[]), cast(:data as text[])) as new_rows (id, data)
        on items.id = new_rows.id
    where conversation_id = :conversation_id
""")


class AppendLock(NamedTuple):
    """A conversation that is locked for appending, its last position, and the summary to return."""

    conversation_id: UUID
    last_position: int
    summary_position: int | None = None
    summary_until: int = 0


class NewRow(NamedTuple):
    """An item to insert: its data as JSON, and its role and text if it is a message."""

    id: str
    data: str
    role: str | None
    text: str | None


class StoredItem(NamedTuple):
    """A stored item; its data is JSON, as Postgres writes it."""

    id: str
    position: int
    data: str
    created_at: datetime
    superseded_by: UUID | None = None
    # Of a summary: the positions of the first and the last item that it stands for.
    summary_from: int | None = None
    summary_until: int | None = None

    @property
    def kind(self) -> Literal["item", "summary"]:
        """Return whether it is a summary of other items."""
        return "item" if self.summary_until is None else "summary"

    def payload(self) -> dict[str, Any]:
        """Return it as `schemas.Item`, with the JSON of Postgres as it is."""
        positions = {"first_position": self.summary_from, "last_position": self.summary_until}
        return {
            "id": self.id,
            "position": self.position,
            "data": orjson.Fragment(self.data),
            "created_at": self.created_at,
            "superseded_by": self.superseded_by,
            "kind": self.kind,
            "summarizes": positions if self.kind == "summary" else None,
        }


def prepare(item: schemas.NewItem) -> NewRow:
    """Serialize an item; raise ItemTooLarge."""
    data = json.dumps(item.data, ensure_ascii=False)
    if len(data.encode()) > schemas.MAX_ITEM_BYTES:
        raise ItemTooLarge(
            f"An item must not have more than {schemas.MAX_ITEM_BYTES} bytes.", item_id=item.id
        )
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
    """Insert items, and return them and the `last` previous ones by their ids.

    An item that exists is not changed. Raise ItemConflict when its content differs, and
    ConversationLimitReached when `factor` times the limits are exceeded.
    """
    # The columns of the rows, also when there are none.
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
    """Return items as they are stored; raise ItemConflict when the content of one differs."""
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
    """Update the summary of a conversation with new items, and return its size."""
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
    """Return the title that a conversation gets from its first user message."""
    return truncate(message, TITLE_LENGTH)


def truncate(text: str, length: int) -> str:
    """Return the start of a text, on one line."""
    return schemas.single_line(text)[:length].rstrip()


def items_response(stored: Sequence[StoredItem]) -> Response:
    """Return `schemas.Items` as a response."""
    items = [item.payload() for item in stored]
    return Response(
        orjson.dumps({"items": items}, default=str, option=orjson.OPT_UTC_Z), media_type="application/json"
    )

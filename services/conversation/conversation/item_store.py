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
from conversation.quotas import Quotas, Size
from conversation.sdk_items import said

MAX_ITEM_BYTES = 256 * 1024
TITLE_LENGTH = 80
LAST_MESSAGE_LENGTH = 120

# The last items of before, which are what a statement sees that does not see what itself is writing, and then
# the new ones. The lock on the conversation is what makes positions follow one another without a hole.
KEEP = text("""
    with offered as (
        select id, cast(data as jsonb) as data, role, text, number
        from unnest(
            cast(:ids as text[]), cast(:data as text[]), cast(:roles as text[]), cast(:texts as text[])
        ) with ordinality as offered (id, data, role, text, number)
    ), fresh as (
        insert into items (conversation_id, position, id, data, role, text)
        select cast(:conversation_id as uuid), :position + row_number() over (order by number),
            id, data, role, text
        from offered
        where id not in (select id from items where conversation_id = :conversation_id and id = any(:ids))
        returning id, position, data, created_at
    ), before as (
        select id, position, data, created_at from items
        where conversation_id = :conversation_id
        order by position desc limit :last
    )
    select id, position, cast(data as text), created_at from (table before union all table fresh) as kept
    order by position
""")
TELL = text("""
    with told as (
        update conversations
        set last_position = last_position + :items, message_count = message_count + :messages,
            last_message = coalesce(:last_message, last_message), title = coalesce(title, :title),
            item_count = item_count + :items, byte_count = byte_count + :bytes, updated_at = clock_timestamp()
        where id = :conversation_id
        returning tenant_id, user_id, item_count, byte_count
    ), counted as (
        update usage set bytes = usage.bytes + :bytes from told
        where usage.tenant_id = told.tenant_id and usage.user_id = told.user_id
    )
    select tenant_id, item_count, byte_count from told
""")
# Postgres compares: which numbers are equal is its own idea, already applied to what it keeps.
COMPARE = text("""
    select items.id, position, cast(items.data as text), created_at, items.data = cast(offered.data as jsonb)
    from items join unnest(cast(:ids as text[]), cast(:data as text[])) as offered (id, data)
        on items.id = offered.id
    where conversation_id = :conversation_id
""")


class Place(NamedTuple):
    """Where items may be added: a conversation that is locked, and its last position."""

    conversation_id: UUID
    position: int


class Offered(NamedTuple):
    """An item to keep: its data as JSON, and who says what in it, if anybody says anything."""

    id: str
    data: str
    role: str | None
    text: str | None


class Kept(NamedTuple):
    """An item as it is kept; its data is JSON, as Postgres writes it."""

    id: str
    position: int
    data: str
    created_at: datetime


def offer(item: schemas.NewItem) -> Offered:
    """Write an item down; raises ItemTooLarge."""
    data = json.dumps(item.data, ensure_ascii=False)
    if len(data.encode()) > MAX_ITEM_BYTES:
        raise ItemTooLarge(f"An item may have {MAX_ITEM_BYTES} bytes at most.", item_id=item.id)
    role, words = said(item.data) or (None, None)
    return Offered(item.id, data, role, words)


async def keep(  # noqa: PLR0913  # where, what, and within which limits
    session: AsyncSession,
    place: Place,
    offered: Sequence[Offered],
    quotas: Quotas,
    *,
    last: int = 0,
    factor: float = 1,
) -> dict[str, Kept]:
    """Keep items, and give them and the last so many of before, by their ids.

    One that is there already is left as it is. Raises ItemConflict when it says something else, and
    ConversationLimitReached when `factor` times the limits are exceeded.
    """
    # The columns of what is offered, also when there is nothing.
    ids, data, roles, texts = ([one[column] for one in offered] for column in range(len(Offered._fields)))
    parts = {"ids": ids, "data": data, "roles": roles, "texts": texts, "last": last}
    rows = [Kept(*row) for row in await session.execute(KEEP, parts | place._asdict())]
    fresh = {one.id: one for one in rows if one.position > place.position}
    if repeated := [one for one in offered if one.id not in fresh]:
        rows += await compare(session, place.conversation_id, repeated)
    if fresh:
        size = sum(len(one.data.encode()) for one in fresh.values())
        now = await tell(session, place.conversation_id, [one for one in offered if one.id in fresh], size)
        await quotas.check_new_items(session, now, factor)
    return {one.id: one for one in rows}


async def compare(session: AsyncSession, conversation_id: UUID, repeated: Sequence[Offered]) -> list[Kept]:
    """Give items as they are kept; raises ItemConflict when one of them says something else."""
    parts = {"ids": [one.id for one in repeated], "data": [one.data for one in repeated]}
    same: list[Kept] = []
    for *kept, is_same in await session.execute(COMPARE, {"conversation_id": conversation_id, **parts}):
        same.append(Kept(*kept))
        if not is_same:
            raise ItemConflict(item_id=same[-1].id)
    return same


async def tell(session: AsyncSession, conversation_id: UUID, fresh: Sequence[Offered], size: int) -> Size:
    """Let a conversation tell of its new items, of so many bytes; return its size by now."""
    said_now = [one.text for one in fresh if one.text is not None]
    asked = [one.text for one in fresh if one.text is not None and one.role == "user"]
    parts = {
        "items": len(fresh),
        "bytes": size,
        "messages": len(said_now),
        "last_message": shortened(said_now[-1], LAST_MESSAGE_LENGTH) if said_now else None,
        "title": title_of(asked[0]) if asked else None,
    }
    told = await session.execute(TELL, {"conversation_id": conversation_id, **parts})
    return Size(*told.one())


def title_of(words: str) -> str:
    """Give the title that a conversation takes from the first thing that the user says."""
    return shortened(words, TITLE_LENGTH)


def shortened(words: str, length: int) -> str:
    """Give the beginning of a text, on one line."""
    return schemas.on_one_line(words)[:length].rstrip()


def answer(kept: Sequence[Kept]) -> Response:
    """Answer with `schemas.Items`; what Postgres wrote goes out without being read and written again."""
    items: list[dict[str, Any]] = [{**one._asdict(), "data": orjson.Fragment(one.data)} for one in kept]
    return Response(orjson.dumps({"items": items}, option=orjson.OPT_UTC_Z), media_type="application/json")

"""Turns of conversations: what one run of an agent hears and says, taken in and taken back as a whole.

The ids of a run's items begin with its own.
"""

from uuid import UUID

from servicekit.tokens import Principal
from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from conversation.conversations import find
from conversation.errors import ConversationUnknown, ItemOfAnotherRun
from conversation.items import recount
from conversation.keeping import Kept, Place, keep, offer, title_of
from conversation.models import Conversation, Item
from conversation.schemas import NewTurn

# The update changes nothing: it is what locks a row that is there, and gives it back, in the same statement.
ENSURE_LOCKED = text("""
    insert into conversations (id, tenant_id, user_id, message_count, last_position)
    values (:id, :tenant_id, :user_id, 0, 0)
    on conflict (id) do update set id = excluded.id
        where conversations.tenant_id = excluded.tenant_id and conversations.user_id = excluded.user_id
    returning last_position
""")


async def begin(
    session: AsyncSession, caller: Principal, conversation_id: UUID, run_id: UUID, new: NewTurn
) -> list[Kept]:
    """Keep what a run begins with, in a conversation that begins with it unless it is there.

    Gives the last so many items of the conversation, oldest first. Raises as `items.append` does, and
    ItemOfAnotherRun.
    """
    for item in new.items:
        if not item.id.startswith(prefix(run_id)):
            raise ItemOfAnotherRun(item_id=item.id)
    offered = [offer(item) for item in new.items]
    place = await ensure_locked(session, caller, conversation_id)
    kept = await keep(session, place, offered, new.last)
    return sorted(kept.values(), key=lambda one: one.position)[-new.last :]


def prefix(run_id: UUID) -> str:
    """Give what the ids of a run's items begin with."""
    return f"{run_id}-"


async def ensure_locked(session: AsyncSession, caller: Principal, conversation_id: UUID) -> Place:
    """Lock one of the caller's conversations, and begin it unless it is there; raises ConversationUnknown."""
    row = {"id": conversation_id, "tenant_id": caller.tenant_id, "user_id": caller.user_id}
    position = (await session.execute(ENSURE_LOCKED, row)).scalar()
    if position is None:
        raise ConversationUnknown
    return Place(conversation_id, position)


async def forget(session: AsyncSession, caller: Principal, conversation_id: UUID, run_id: UUID) -> None:
    """Take out all items of a run, if there are any; a title that was taken from them goes with them."""
    conversation = await find(session, caller, conversation_id, lock=True)
    of_run = delete(Item).where(
        Item.conversation_id == conversation.id, Item.id.startswith(prefix(run_id), autoescape=True)
    )
    gone = (await session.execute(of_run.returning(Item.role, Item.text))).all()
    if not gone:
        return
    if conversation.title in {title_of(words) for role, words in gone if role == "user" and words}:
        asked = await first_asked(session, conversation)
        conversation.title = title_of(asked) if asked else None
    await recount(session, conversation)


async def first_asked(session: AsyncSession, conversation: Conversation) -> str | None:
    """Give the first thing that the user said, of what is left."""
    asked = select(Item.text).where(Item.conversation_id == conversation.id, Item.role == "user")
    return await session.scalar(asked.order_by(Item.position).limit(1))

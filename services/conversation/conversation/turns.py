"""Turns of conversations: what one run of an agent hears and says, and may be taken back as a whole.

The ids of a run's items begin with its own. A run is worked on in attempts; whoever has an older one than was
heard of can change nothing in the turn any more, however late a request of theirs comes.
"""

from collections.abc import Sequence
from uuid import UUID

from servicekit.tokens import Principal
from sqlalchemy import TextClause, delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from conversation.conversations import find
from conversation.errors import ConversationUnknown, ItemOfAnotherRun, TurnSuperseded
from conversation.items import recount
from conversation.keeping import Kept, Offered, Place, keep, offer, title_of
from conversation.models import Conversation, Item
from conversation.schemas import NewItem, NewTurn, NewTurnItems

# The update changes nothing: it is what locks a row that is there, and gives it back, in the same statement.
# Who has left says nothing more: a run of theirs that is late finds no conversation, and makes none.
ENSURE = """
    insert into conversations (id, tenant_id, user_id, message_count, last_position)
    select cast(:id as uuid), cast(:tenant_id as uuid), cast(:user_id as text), 0, 0
    where not exists (select from leavers where leavers.user_id = :user_id)
    on conflict (id) do update set id = excluded.id
        where conversations.tenant_id = excluded.tenant_id and conversations.user_id = excluded.user_id
    returning id, last_position
"""
LOCK = """
    select id, last_position from conversations
    where id = :id and tenant_id = :tenant_id and user_id = :user_id
    for update
"""
# What is compared is the row as it is once it is locked, not as it was when the statement began.
TAKE = """
    with conversation as ({conversation}), turn as (
        insert into turns (conversation_id, run_id, attempt)
        select id, :run_id, :attempt from conversation
        on conflict (conversation_id, run_id) do update set attempt = excluded.attempt
            where turns.attempt <= excluded.attempt
        returning attempt
    )
    select last_position, exists(select from turn) from conversation
"""
ENSURE_AND_TAKE, LOCK_AND_TAKE = text(TAKE.format(conversation=ENSURE)), text(TAKE.format(conversation=LOCK))


async def begin(
    session: AsyncSession, caller: Principal, conversation_id: UUID, run_id: UUID, new: NewTurn
) -> list[Kept]:
    """Keep what a run begins with, in a conversation that begins with it unless it is there.

    Gives the last so many items of the conversation, oldest first. Raises as `append` does.
    """
    offered = offer_all(run_id, new.items)
    place = await take(session, caller, conversation_id, run_id, new.attempt, ENSURE_AND_TAKE)
    kept = await keep(session, place, offered, new.last)
    return sorted(kept.values(), key=lambda one: one.position)[-new.last :]


async def append(
    session: AsyncSession, caller: Principal, conversation_id: UUID, run_id: UUID, new: NewTurnItems
) -> list[Kept]:
    """Keep more items of a run.

    Raises ConversationUnknown, TurnSuperseded, ItemOfAnotherRun, ItemTooLarge and ItemConflict.
    """
    offered = offer_all(run_id, new.items)
    place = await take(session, caller, conversation_id, run_id, new.attempt)
    kept = await keep(session, place, offered)
    return [kept[item.id] for item in new.items]


def offer_all(run_id: UUID, items: Sequence[NewItem]) -> list[Offered]:
    """Write a run's items down; raises ItemOfAnotherRun and ItemTooLarge."""
    for item in items:
        if not item.id.startswith(prefix(run_id)):
            raise ItemOfAnotherRun(item_id=item.id)
    return [offer(item) for item in items]


def prefix(run_id: UUID) -> str:
    """Give what the ids of a run's items begin with."""
    return f"{run_id}-"


async def take(  # noqa: PLR0913, PLR0917  # whose, where, and who
    session: AsyncSession,
    caller: Principal,
    conversation_id: UUID,
    run_id: UUID,
    attempt: int,
    statement: TextClause = LOCK_AND_TAKE,
) -> Place:
    """Lock one of the caller's conversations for an attempt of a run; from now on no older one may write.

    Raises ConversationUnknown and TurnSuperseded.
    """
    whose = {"id": conversation_id, "tenant_id": caller.tenant_id, "user_id": caller.user_id}
    row = (await session.execute(statement, {**whose, "run_id": run_id, "attempt": attempt})).one_or_none()
    if row is None:
        raise ConversationUnknown
    position, is_newest = row
    if not is_newest:
        raise TurnSuperseded
    return Place(conversation_id, position)


async def forget(
    session: AsyncSession, caller: Principal, conversation_id: UUID, run_id: UUID, attempt: int
) -> None:
    """Take out all items of a run, if there are any; a title that was taken from them goes with them.

    Raises ConversationUnknown and TurnSuperseded.
    """
    await take(session, caller, conversation_id, run_id, attempt)
    conversation = await find(session, caller, conversation_id)
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

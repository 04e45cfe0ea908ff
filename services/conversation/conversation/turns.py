"""Turns of conversations: what one run of an agent hears and says, and may be taken back as a whole.

The ids of a run's items begin with its own. A run is worked on in attempts; whoever has an older one than was
heard of can change nothing in the turn any more, however late a request of theirs comes.
"""

from collections.abc import Sequence
from uuid import UUID

from servicekit.auth.tokens import Principal
from sqlalchemy import Text, TextClause, cast, delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from conversation.conversations import find
from conversation.errors import ConversationUnknown, ItemOfAnotherRun, TurnSuperseded
from conversation.item_store import Kept, Offered, Place, keep, offer, title_of
from conversation.items import recount
from conversation.models import Conversation, Item
from conversation.quotas import RUN_FACTOR, Quotas
from conversation.schemas import NewItem, NewTurn, NewTurnItems

# The update changes nothing: it is what locks a row that is there, and gives it back, in the same statement.
# Who has left says nothing more: a run of theirs that is late finds no conversation, and makes none.
ENSURE = """
    insert into conversations (id, tenant_id, user_id, message_count, last_position)
    select cast(:id as uuid), cast(:tenant_id as uuid), cast(:user_id as text), 0, 0
    where not exists (select from leavers where leavers.user_id = :user_id)
    on conflict (id) do update set id = excluded.id
        where conversations.tenant_id = excluded.tenant_id and conversations.user_id = excluded.user_id
    returning id, last_position, xmax = 0 as is_new
"""
LOCK = """
    select id, last_position, false as is_new from conversations
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
    select last_position, exists(select from turn), is_new from conversation
"""
ENSURE_AND_TAKE, LOCK_AND_TAKE = text(TAKE.format(conversation=ENSURE)), text(TAKE.format(conversation=LOCK))


async def begin(  # noqa: PLR0913, PLR0917  # whose, where, and what
    session: AsyncSession,
    caller: Principal,
    conversation_id: UUID,
    run_id: UUID,
    new: NewTurn,
    quotas: Quotas,
) -> list[Kept]:
    """Keep what a run begins with, in a conversation that begins with it unless it is there.

    Gives the last so many items of the conversation, oldest first. Raises as `append` does.
    """
    offered = offer_all(run_id, new.items)
    place, is_new = await take(session, caller, conversation_id, run_id, new.attempt, ENSURE_AND_TAKE)
    if is_new:
        await quotas.check_new_conversation(session, caller)
    kept = await keep(session, place, offered, quotas, last=new.last)
    return sorted(kept.values(), key=lambda one: one.position)[-new.last :]


async def append(  # noqa: PLR0913, PLR0917  # whose, where, and what
    session: AsyncSession,
    caller: Principal,
    conversation_id: UUID,
    run_id: UUID,
    new: NewTurnItems,
    quotas: Quotas,
) -> list[Kept]:
    """Keep more items of a run, which may go over the limits a little: it began within them.

    Raises ConversationUnknown, TurnSuperseded, ItemOfAnotherRun, ItemTooLarge, ItemConflict and
    ConversationLimitReached.
    """
    offered = offer_all(run_id, new.items)
    place, _ = await take(session, caller, conversation_id, run_id, new.attempt)
    kept = await keep(session, place, offered, quotas, factor=RUN_FACTOR)
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
) -> tuple[Place, bool]:
    """Lock one of the caller's conversations for an attempt of a run; from now on no older one may write.

    Tells as well whether the conversation is new.

    Raises ConversationUnknown and TurnSuperseded.
    """
    whose = {"id": conversation_id, "tenant_id": caller.tenant_id, "user_id": caller.user_id}
    row = (await session.execute(statement, {**whose, "run_id": run_id, "attempt": attempt})).one_or_none()
    if row is None:
        raise ConversationUnknown
    position, is_newest, is_new = row
    if not is_newest:
        raise TurnSuperseded
    return Place(conversation_id, position), is_new


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
    size = func.octet_length(cast(Item.data, Text))
    gone = (await session.execute(of_run.returning(Item.role, Item.text, size))).all()
    if not gone:
        return
    if conversation.title in {title_of(words) for role, words, _ in gone if role == "user" and words}:
        asked = await first_asked(session, conversation)
        conversation.title = title_of(asked) if asked else None
    await recount(session, conversation, len(gone), sum(size for *_, size in gone))


async def first_asked(session: AsyncSession, conversation: Conversation) -> str | None:
    """Give the first thing that the user said, of what is left."""
    asked = select(Item.text).where(Item.conversation_id == conversation.id, Item.role == "user")
    return await session.scalar(asked.order_by(Item.position).limit(1))

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
from conversation.errors import ConversationNotFound, InvalidItemId, TurnSuperseded
from conversation.item_store import AppendLock, NewRow, StoredItem, insert_items, prepare, title_from
from conversation.items import refresh_summary
from conversation.models import Conversation, Item
from conversation.quotas import RUN_FACTOR, Quotas
from conversation.schemas import NewItem, NewTurn, NewTurnItems

# The update changes nothing: it is what locks a row that is there, and gives it back, in the same statement.
# Who has left says nothing more: a run of theirs that is late finds no conversation, and makes none.
CREATE_OR_LOCK = """
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
CLAIM_TURN = """
    with conversation as ({conversation}), turn as (
        insert into turns (conversation_id, run_id, attempt)
        select id, :run_id, :attempt from conversation
        on conflict (conversation_id, run_id) do update set attempt = excluded.attempt
            where turns.attempt <= excluded.attempt
        returning attempt
    )
    select last_position, exists(select from turn), is_new from conversation
"""
CREATE_AND_CLAIM, LOCK_AND_CLAIM = (
    text(CLAIM_TURN.format(conversation=CREATE_OR_LOCK)),
    text(CLAIM_TURN.format(conversation=LOCK)),
)


async def begin(  # noqa: PLR0913, PLR0917  # whose, where, and what
    db: AsyncSession,
    caller: Principal,
    conversation_id: UUID,
    run_id: UUID,
    new: NewTurn,
    quotas: Quotas,
) -> list[StoredItem]:
    """Keep what a run begins with, in a conversation that begins with it unless it is there.

    Gives the last so many items of the conversation, oldest first. Raises as `append` does.
    """
    rows = prepare_all(run_id, new.items)
    lock, is_new = await claim_turn(db, caller, conversation_id, run_id, new.attempt, CREATE_AND_CLAIM)
    if is_new:
        await quotas.check_new_conversation(db, caller)
    stored = await insert_items(db, lock, rows, quotas, last=new.last)
    return sorted(stored.values(), key=lambda item: item.position)[-new.last :]


async def append(  # noqa: PLR0913, PLR0917  # whose, where, and what
    db: AsyncSession,
    caller: Principal,
    conversation_id: UUID,
    run_id: UUID,
    new: NewTurnItems,
    quotas: Quotas,
) -> list[StoredItem]:
    """Keep more items of a run, which may go over the limits a little: it began within them.

    Raises ConversationNotFound, TurnSuperseded, InvalidItemId, ItemTooLarge, ItemConflict and
    ConversationLimitReached.
    """
    rows = prepare_all(run_id, new.items)
    lock, _ = await claim_turn(db, caller, conversation_id, run_id, new.attempt)
    stored = await insert_items(db, lock, rows, quotas, factor=RUN_FACTOR)
    return [stored[item.id] for item in new.items]


def prepare_all(run_id: UUID, items: Sequence[NewItem]) -> list[NewRow]:
    """Write a run's items down; raises InvalidItemId and ItemTooLarge."""
    for item in items:
        if not item.id.startswith(item_id_prefix(run_id)):
            raise InvalidItemId(item_id=item.id)
    return [prepare(item) for item in items]


def item_id_prefix(run_id: UUID) -> str:
    """Give what the ids of a run's items begin with."""
    return f"{run_id}-"


async def claim_turn(  # noqa: PLR0913, PLR0917  # whose, where, and who
    db: AsyncSession,
    caller: Principal,
    conversation_id: UUID,
    run_id: UUID,
    attempt: int,
    statement: TextClause = LOCK_AND_CLAIM,
) -> tuple[AppendLock, bool]:
    """Lock one of the caller's conversations for an attempt of a run; from now on no older one may write.

    Tells as well whether the conversation is new.

    Raises ConversationNotFound and TurnSuperseded.
    """
    owner = {"id": conversation_id, "tenant_id": caller.tenant_id, "user_id": caller.user_id}
    row = (await db.execute(statement, {**owner, "run_id": run_id, "attempt": attempt})).one_or_none()
    if row is None:
        raise ConversationNotFound
    position, is_newest, is_new = row
    if not is_newest:
        raise TurnSuperseded
    return AppendLock(conversation_id, position), is_new


async def delete_items(
    db: AsyncSession, caller: Principal, conversation_id: UUID, run_id: UUID, attempt: int
) -> None:
    """Take out all items of a run, if there are any; a title that was taken from them goes with them.

    Raises ConversationNotFound and TurnSuperseded.
    """
    await claim_turn(db, caller, conversation_id, run_id, attempt)
    conversation = await find(db, caller, conversation_id)
    deletion = delete(Item).where(
        Item.conversation_id == conversation.id, Item.id.startswith(item_id_prefix(run_id), autoescape=True)
    )
    size = func.octet_length(cast(Item.data, Text))
    deleted = (await db.execute(deletion.returning(Item.role, Item.text, size))).all()
    if not deleted:
        return
    if conversation.title in {title_from(text) for role, text, _ in deleted if role == "user" and text}:
        message = await first_user_message(db, conversation)
        conversation.title = title_from(message) if message else None
    await refresh_summary(db, conversation, len(deleted), sum(size for *_, size in deleted))


async def first_user_message(db: AsyncSession, conversation: Conversation) -> str | None:
    """Give the first thing that the user said, of what is left."""
    query = select(Item.text).where(Item.conversation_id == conversation.id, Item.role == "user")
    return await db.scalar(query.order_by(Item.position).limit(1))

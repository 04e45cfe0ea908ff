"""Turns of a conversation: the items of one run, which can be deleted together.

The ids of a run's items start with the id of the run. A run is executed in attempts; an attempt that is older
than the newest known one can no longer change the turn.
"""

from collections.abc import Sequence
from uuid import UUID

from servicekit.auth.tokens import Principal
from sqlalchemy import Text, TextClause, cast, delete, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from conversation import summaries
from conversation.conversations import find
from conversation.end_users import refuse_erased
from conversation.errors import ConversationNotFound, InvalidItemId, TurnSuperseded
from conversation.item_store import AppendLock, NewRow, StoredItem, insert_items, prepare, title_from
from conversation.items import refresh_current, refresh_summary
from conversation.models import Conversation, Item
from conversation.quotas import RUN_FACTOR, Quotas
from conversation.schemas import NewItem, NewTurn, NewTurnItems

# The update locks and returns an existing row in the same statement, and makes it a lasting one. A late run
# of a deleted user finds no conversation and creates none.
CREATE_OR_LOCK = """
    insert into conversations (id, tenant_id, user_id, message_count, last_position, expires_at)
    select cast(:id as uuid), cast(:tenant_id as uuid), cast(:user_id as text), 0, 0,
        cast(:expires_at as timestamptz)
    where not exists (select from leavers where leavers.user_id = :user_id)
    on conflict (id) do update
        set expires_at = case when excluded.expires_at is not null then conversations.expires_at end
        where conversations.tenant_id = excluded.tenant_id and conversations.user_id = excluded.user_id
    returning id, last_position, summary_position, summary_until, xmax = 0 as is_new
"""
LOCK = """
    select id, last_position, summary_position, summary_until, false as is_new from conversations
    where id = :id and tenant_id = :tenant_id and user_id = :user_id
    for update
"""
# The attempt is compared with the row as it is once locked, not as it was when the statement started.
CLAIM_TURN = """
    with conversation as ({conversation}), turn as (
        insert into turns (conversation_id, run_id, attempt)
        select id, :run_id, :attempt from conversation
        on conflict (conversation_id, run_id) do update set attempt = excluded.attempt
            where turns.attempt <= excluded.attempt
        returning attempt
    )
    select last_position, summary_position, summary_until, exists(select from turn), is_new from conversation
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
    """Store the first items of a run, in a conversation that is created if it does not exist.

    Return the newest items of the conversation, oldest first. Raise what `append` raises.
    """
    rows = prepare_all(run_id, new.items)
    if new.begun_at is not None:
        await refuse_erased(db, caller, new.begun_at)
    create = CREATE_AND_CLAIM.bindparams(expires_at=new.expires_at)
    lock, is_new = await claim_turn(db, caller, conversation_id, run_id, new.attempt, create)
    if is_new and new.expires_at is None:
        await quotas.check_new_conversation(db, caller)
    if new.supersedes_after is not None:
        conversation = await supersede(db, caller, conversation_id, run_id, new.supersedes_after)
        lock = lock._replace(
            summary_position=conversation.summary_position, summary_until=conversation.summary_until
        )
    if not new.compacted:
        lock = AppendLock(lock.conversation_id, lock.last_position)
    stored = await insert_items(db, lock, rows, quotas, last=new.last)
    return summaries.first_summary(stored.values(), new.last)


async def supersede(
    db: AsyncSession, caller: Principal, conversation_id: UUID, run_id: UUID, after: int
) -> Conversation:
    """Mark the items of other runs after a position, and summaries of them, as superseded by a run."""
    conversation = await find(db, caller, conversation_id)
    others = update(Item).where(
        Item.conversation_id == conversation.id,
        Item.position > after,
        Item.superseded_by.is_(None),
        or_(Item.summary_until.is_(None), Item.summary_until > after),
        ~Item.id.startswith(item_id_prefix(run_id), autoescape=True),
    )
    marked = await db.execute(others.values(superseded_by=run_id).returning(Item.role, Item.text))
    await refresh_title(db, conversation, [text for role, text in marked if role == "user"])
    await refresh_summary(db, conversation, 0, 0)
    await refresh_current(db, conversation)
    await db.flush()
    return conversation


async def append(  # noqa: PLR0913, PLR0917  # whose, where, and what
    db: AsyncSession,
    caller: Principal,
    conversation_id: UUID,
    run_id: UUID,
    new: NewTurnItems,
    quotas: Quotas,
) -> list[StoredItem]:
    """Store more items of a run, which may exceed the limits a little, since it started within them.

    Raise ConversationNotFound, TurnSuperseded, InvalidItemId, ItemTooLarge, ItemConflict and
    ConversationLimitReached.
    """
    rows = prepare_all(run_id, new.items)
    lock, _ = await claim_turn(db, caller, conversation_id, run_id, new.attempt)
    lock = AppendLock(lock.conversation_id, lock.last_position)
    stored = await insert_items(db, lock, rows, quotas, factor=RUN_FACTOR)
    return [stored[item.id] for item in new.items]


def prepare_all(run_id: UUID, items: Sequence[NewItem]) -> list[NewRow]:
    """Serialize the items of a run; raise InvalidItemId and ItemTooLarge."""
    for item in items:
        if not item.id.startswith(item_id_prefix(run_id)):
            raise InvalidItemId(item_id=item.id)
    return [prepare(item) for item in items]


def item_id_prefix(run_id: UUID) -> str:
    """Return the prefix of the ids of a run's items."""
    return f"{run_id}-"


async def claim_turn(  # noqa: PLR0913, PLR0917  # whose, where, and who
    db: AsyncSession,
    caller: Principal,
    conversation_id: UUID,
    run_id: UUID,
    attempt: int,
    statement: TextClause = LOCK_AND_CLAIM,
) -> tuple[AppendLock, bool]:
    """Lock a conversation of the caller for an attempt of a run; from now on, older attempts are rejected.

    Return the lock, and whether the conversation is new.

    Raise ConversationNotFound and TurnSuperseded.
    """
    owner = {"id": conversation_id, "tenant_id": caller.tenant_id, "user_id": caller.user_id}
    row = (await db.execute(statement, {**owner, "run_id": run_id, "attempt": attempt})).one_or_none()
    if row is None:
        raise ConversationNotFound
    *positions, is_newest, is_new = row
    if not is_newest:
        raise TurnSuperseded
    return AppendLock(conversation_id, *positions), is_new


async def delete_items(
    db: AsyncSession, caller: Principal, conversation_id: UUID, run_id: UUID, attempt: int
) -> None:
    """Delete all items of a run, if there are any, and a title that was made from them.

    What the run has superseded is current again.

    Raise ConversationNotFound and TurnSuperseded.
    """
    await claim_turn(db, caller, conversation_id, run_id, attempt)
    conversation = await find(db, caller, conversation_id)
    superseded = update(Item).where(Item.conversation_id == conversation.id, Item.superseded_by == run_id)
    await db.execute(superseded.values(superseded_by=None))
    deletion = delete(Item).where(
        Item.conversation_id == conversation.id, Item.id.startswith(item_id_prefix(run_id), autoescape=True)
    )
    size = func.octet_length(cast(Item.data, Text))
    deleted = (await db.execute(deletion.returning(Item.role, Item.text, size))).all()
    await refresh_current(db, conversation)
    if not deleted:
        return
    await refresh_title(db, conversation, [text for role, text, _ in deleted if role == "user"])
    await refresh_summary(db, conversation, len(deleted), sum(size for *_, size in deleted))


async def refresh_title(
    db: AsyncSession, conversation: Conversation, removed_messages: Sequence[str | None]
) -> None:
    """Replace a title that was made from one of the user's messages that are gone."""
    if conversation.title in {title_from(text) for text in removed_messages if text}:
        message = await first_user_message(db, conversation)
        conversation.title = title_from(message) if message else None


async def first_user_message(db: AsyncSession, conversation: Conversation) -> str | None:
    """Return the first user message that remains."""
    current = Item.conversation_id == conversation.id, Item.superseded_by.is_(None)
    query = select(Item.text).where(*current, Item.role == "user")
    return await db.scalar(query.order_by(Item.position).limit(1))

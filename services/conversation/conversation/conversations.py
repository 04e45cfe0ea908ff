"""Create, list, read and delete conversations, each by its owner."""

from typing import TypeVar
from uuid import UUID

from servicekit import erasure
from servicekit.auth.end_users import application_of
from servicekit.auth.tokens import Principal
from servicekit.pagination import next_cursor, paginate
from servicekit.schemas import Page
from sqlalchemy import ColumnElement, and_, delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from conversation import schemas
from conversation.errors import ConversationNotFound
from conversation.item_store import AppendLock
from conversation.models import Conversation, Item
from conversation.quotas import Quotas

Listed = TypeVar("Listed", bound=schemas.Conversation)

# Usage goes with it.
ASSIGN = text("""
    with assigned as (
        update conversations set user_id = :user_id
        where id = :id and tenant_id = :tenant_id and user_id = :from
            and not exists (select from turns where conversation_id = conversations.id)
        returning tenant_id, byte_count, cast(expires_at is null as integer) as number
    ), added as (
        insert into usage (tenant_id, user_id, conversations, bytes)
        select tenant_id, :user_id, number, byte_count from assigned
        on conflict (tenant_id, user_id) do update
            set conversations = usage.conversations + excluded.conversations,
                bytes = usage.bytes + excluded.bytes
    )
    update usage set conversations = conversations - number, bytes = bytes - byte_count
    from assigned where usage.tenant_id = assigned.tenant_id and usage.user_id = :from
""")
MAX_MESSAGES = 200
DELETE_BATCH = 500


def owned_by(caller: Principal) -> ColumnElement[bool]:
    """Return the condition that a conversation belongs to the caller, not to a colleague."""
    return and_(Conversation.tenant_id == caller.tenant_id, Conversation.user_id == caller.user_id)


def reachable_by(caller: Principal) -> ColumnElement[bool]:
    """Return the condition that the caller may use a conversation whose id it has.

    An application that names nobody may use those of its end users.
    """
    own = Conversation.user_id == caller.user_id
    if caller.is_service and caller.user_id == application_of(caller.user_id):
        own |= Conversation.user_id.startswith(f"{caller.user_id}/", autoescape=True)
    return and_(Conversation.tenant_id == caller.tenant_id, own)


async def find(
    db: AsyncSession, caller: Principal, conversation_id: UUID, *, lock: bool = False
) -> Conversation:
    """Return a conversation that the caller may reach, optionally locked; raise ConversationNotFound."""
    query = select(Conversation).where(reachable_by(caller), Conversation.id == conversation_id)
    conversation = await db.scalar(query.with_for_update() if lock else query)
    if conversation is None:
        raise ConversationNotFound
    return conversation


async def lock(db: AsyncSession, caller: Principal, conversation_id: UUID) -> AppendLock:
    """Lock a conversation of the caller for appending items; raise ConversationNotFound."""
    query = select(Conversation.last_position).where(owned_by(caller), Conversation.id == conversation_id)
    position = await db.scalar(query.with_for_update())
    if position is None:
        raise ConversationNotFound
    return AppendLock(conversation_id, position)


async def create(
    db: AsyncSession, caller: Principal, new: schemas.NewConversation, quotas: Quotas
) -> Conversation:
    """Create a conversation; raise ConversationLimitReached."""
    conversation = Conversation(tenant_id=caller.tenant_id, user_id=caller.user_id, **new.model_dump())
    db.add(conversation)
    await db.flush()
    await quotas.check_new_conversation(db, caller)
    return conversation


async def get_or_create(
    db: AsyncSession, caller: Principal, conversation_id: UUID, new: schemas.NewConversation, quotas: Quotas
) -> Conversation:
    """Return the conversation with this id, and create it if it does not exist.

    One that an application has created for nobody, and in which nothing ran, becomes the end user's.
    Raise ConversationLimitReached, and ConversationNotFound, also on behalf of a deleted user.
    """
    if await db.scalar(erasure.is_deleted_user(caller.user_id)):
        raise ConversationNotFound
    owner = {"tenant_id": caller.tenant_id, "user_id": caller.user_id}
    row = {"id": conversation_id, **owner, **new.model_dump()}
    inserted = insert(Conversation).values(row).on_conflict_do_nothing().returning(Conversation.id)
    if await db.scalar(inserted) is not None:
        await quotas.check_new_conversation(db, caller)
    elif application_of(caller.user_id) != caller.user_id:
        await db.execute(ASSIGN, {"id": conversation_id, **owner, "from": application_of(caller.user_id)})
    return await find(db, caller, conversation_id)


async def rename(db: AsyncSession, caller: Principal, conversation_id: UUID, title: str) -> Conversation:
    """Rename a conversation, which stays where it is in the list; raise ConversationNotFound."""
    conversation = await find(db, caller, conversation_id, lock=True)
    conversation.title = title
    return conversation


async def replace_notes(
    db: AsyncSession, caller: Principal, conversation_id: UUID, notes: dict[str, str]
) -> Conversation:
    """Replace what an application notes about a conversation; raise ConversationNotFound."""
    conversation = await find(db, caller, conversation_id, lock=True)
    conversation.notes = {**notes}
    return conversation


async def list_page(
    db: AsyncSession, caller: Principal, limit: int, cursor: str | None
) -> Page[schemas.Conversation]:
    """List the caller's conversations, the most recently updated first, without temporary ones."""
    listed = owned_by(caller) & Conversation.expires_at.is_(None)
    return await page_of(db, listed, limit, cursor, schemas.Conversation)


async def list_all(
    db: AsyncSession, caller: Principal, limit: int, cursor: str | None
) -> Page[schemas.NotedConversation]:
    """List the caller's conversations, also temporary ones, with what their application notes about them."""
    return await page_of(db, owned_by(caller), limit, cursor, schemas.NotedConversation)


async def page_of(
    db: AsyncSession, condition: ColumnElement[bool], limit: int, cursor: str | None, kind: type[Listed]
) -> Page[Listed]:
    """Return a page of conversations, the most recently updated first."""
    query = select(Conversation).where(condition)
    page = paginate(query, Conversation.updated_at, Conversation.id, limit, cursor, newest_first=True)
    rows = (await db.scalars(page)).all()
    conversations = [kind.model_validate(row) for row in rows[:limit]]
    return Page(items=conversations, next_cursor=next_cursor(rows, limit, "updated_at", "id"))


async def get_detail(
    db: AsyncSession, caller: Principal, conversation_id: UUID
) -> schemas.ConversationDetail:
    """Return a conversation and its newest messages."""
    conversation = await find(db, caller, conversation_id)
    newest = (
        select(Item)
        .where(Item.conversation_id == conversation.id, Item.role.is_not(None), Item.superseded_by.is_(None))
        .order_by(Item.position.desc())
        .limit(MAX_MESSAGES)
    )
    messages = [schemas.Message.model_validate(item) for item in await db.scalars(newest)]
    summary = schemas.Conversation.model_validate(conversation)
    return schemas.ConversationDetail(**summary.model_dump(), messages=messages[::-1])


async def remove_batch(db: AsyncSession, caller: Principal) -> schemas.Deleted:
    """Delete some of the caller's conversations with their items, and return how many."""
    batch = select(Conversation.id).where(owned_by(caller)).limit(DELETE_BATCH)
    deleted = await db.scalars(
        delete(Conversation).where(Conversation.id.in_(batch)).returning(Conversation.id)
    )
    return schemas.Deleted(deleted=len(deleted.all()))


async def remove(db: AsyncSession, caller: Principal, conversation_id: UUID) -> None:
    """Delete a conversation and its items; raise ConversationNotFound."""
    deletion = delete(Conversation).where(reachable_by(caller), Conversation.id == conversation_id)
    if await db.scalar(deletion.returning(Conversation.id)) is None:
        raise ConversationNotFound

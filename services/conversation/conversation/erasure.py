"""Erasure of deleted users and tenants: their conversations are deleted.

Those of a user at once, and whatever arrives late as well; those of a tenant after its grace period.
"""

from servicekit import erasure
from servicekit.erasure import TENANT_EVENTS, USER_EVENT, deleted_users
from servicekit.events.outbox import ReceivedEvent
from servicekit.events.relay import Handler
from servicekit.retention import RetentionRule
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from conversation.models import Base, Conversation

# Deleted with the event itself; the retention worker deletes the rest, and what is written meanwhile.
BATCH_SIZE = 500


async def erase_user(db: AsyncSession, received: ReceivedEvent) -> None:
    """Delete the conversations of a deleted user."""
    event = await erasure.record_user_deleted(db, received)
    batch = select(Conversation.id).where(Conversation.user_id == event.user_id).limit(BATCH_SIZE)
    await db.execute(delete(Conversation).where(Conversation.id.in_(batch)))


def retention_rules() -> list[RetentionRule]:
    """Return the rules for temporary conversations, and those of deleted users and tenants."""
    table = Base.metadata.tables["conversations"]
    return [
        (table, Conversation.tenant_id.in_(erasure.purgeable_tenants())),
        (table, Conversation.user_id.in_(select(deleted_users.c.user_id))),
        (table, Conversation.expires_at < func.now()),
    ]


HANDLERS: dict[str, Handler] = {
    USER_EVENT: erase_user,
    **dict.fromkeys(TENANT_EVENTS, erasure.record_tenant_changed),
}

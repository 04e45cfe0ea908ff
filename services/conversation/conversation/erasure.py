"""What auth tells of people and tenants: what was said by who has left, or in a tenant that is over, goes.

Of a tenant when its time is over; of a person at once, and whatever comes late as well.
"""

from servicekit import erasure
from servicekit.erasure import TENANT_EVENTS, USER_EVENT, deleted_users
from servicekit.events.outbox import ReceivedEvent
from servicekit.events.relay import Handler
from servicekit.workers.retention import RetentionRule
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from conversation.models import Base, Conversation

# So many go with the event itself; the housekeeping takes the rest, and what is written at that very moment.
BATCH_SIZE = 500


async def erase_user(db: AsyncSession, received: ReceivedEvent) -> None:
    """Remove what somebody has said who has left."""
    event = await erasure.record_user_deleted(db, received)
    batch = select(Conversation.id).where(Conversation.user_id == event.user_id).limit(BATCH_SIZE)
    await db.execute(delete(Conversation).where(Conversation.id.in_(batch)))


def retention_rules() -> list[RetentionRule]:
    """Say which conversations are nobody's any more, or of tenants that are over."""
    table = Base.metadata.tables["conversations"]
    return [
        (table, Conversation.tenant_id.in_(erasure.purgeable_tenants())),
        (table, Conversation.user_id.in_(select(deleted_users.c.user_id))),
    ]


HANDLERS: dict[str, Handler] = {
    USER_EVENT: erase_user,
    **dict.fromkeys(TENANT_EVENTS, erasure.record_tenant_changed),
}

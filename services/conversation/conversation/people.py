"""What auth tells of people: who has left for good is forgotten, whatever of theirs comes late as well.

Ids of people are not used again, so who has left is remembered for ever: by the id that is nobody's any more.
"""

from uuid import UUID

from pydantic import BaseModel
from servicekit.events import Received
from servicekit.housekeeping import Rule
from servicekit.streams import Handler
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from conversation import tenants
from conversation.models import Base, Conversation, Leaver

# So many go with the event itself; the housekeeping takes the rest, and what is written at that very moment.
AT_ONCE = 500


class UserDeleted(BaseModel):
    """`auth.user.deleted.v1`: somebody has left for good, and tenants that nobody else was in with them."""

    user_id: str
    tenant_ids: list[UUID]


async def forget(session: AsyncSession, received: Received) -> None:
    """Remove what somebody has said who has left."""
    event = UserDeleted.model_validate(received.data)
    await session.execute(insert(Leaver).values(user_id=event.user_id).on_conflict_do_nothing())
    await tenants.close(session, event.tenant_ids)
    some = select(Conversation.id).where(Conversation.user_id == event.user_id).limit(AT_ONCE)
    await session.execute(delete(Conversation).where(Conversation.id.in_(some)))


def of_leavers() -> Rule:
    """Say which conversations are nobody's any more."""
    return Base.metadata.tables["conversations"], Conversation.user_id.in_(select(Leaver.user_id))


HANDLERS: dict[str, Handler] = {"auth.user.deleted.v1": forget}

"""The profile of a user."""

from servicekit.auth.tokens import Principal
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit
from auth.account.reauthentication import audit_actor, get_current_user
from auth.account.schemas import Profile
from auth.schemas import Me
from auth.sessions import sessions


async def rename(db: AsyncSession, caller: Principal, request: Profile) -> Me:
    """Set or remove the caller's name; raises PeopleOnly or SessionEnded."""
    user = await get_current_user(db, caller)
    user.display_name = request.display_name
    audit.record(db, audit.Action.USER_UPDATED, **audit_actor(caller))
    await db.flush()
    return await sessions.me(db, caller)

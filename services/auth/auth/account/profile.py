"""What people say of themselves."""

from servicekit.auth.tokens import Principal
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit
from auth.account.reauthentication import by, present
from auth.account.schemas import Profile
from auth.schemas import Me
from auth.sessions import sessions


async def rename(db: AsyncSession, caller: Principal, wanted: Profile) -> Me:
    """Change one's name, or have none; raises PeopleOnly or SessionEnded."""
    user = await present(db, caller)
    user.display_name = wanted.display_name
    audit.record(db, audit.Action.USER_UPDATED, **by(caller))
    await db.flush()
    return await sessions.me(db, caller)

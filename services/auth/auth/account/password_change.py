"""Changing one's password, knowing the present one."""

from servicekit.auth.tokens import Principal
from sqlalchemy import select

from auth import audit
from auth.account import passwords
from auth.account.errors import PasswordWrong
from auth.account.reauthentication import by, prove, session_of
from auth.account.schemas import PasswordChange
from auth.models import User
from auth.services import Parts


async def change(parts: Parts, caller: Principal, wanted: PasswordChange) -> None:
    """Set a new password; the caller's session goes on, all others end.

    Raises as `prove` and `new_password.fit` do.
    """
    known = await prove(parts, caller, wanted.current_password.get_secret_value())
    password_hash = await passwords.fit(parts, known, wanted.new_password.get_secret_value())
    async with parts.database.begin() as db:
        # Of many at once, one finds the password that was proven still there.
        same = (User.id == known.id, User.password_hash == known.password_hash)
        user = await db.scalar(select(User).where(*same).with_for_update())
        if user is None:
            raise PasswordWrong
        await passwords.replace(db, parts, user, password_hash, keeping=session_of(caller))
        audit.record(db, audit.Action.PASSWORD_CHANGED, **by(caller))

"""Change a password by means of the current one."""

from servicekit.auth.tokens import Principal
from sqlalchemy import select

from auth import audit
from auth.account import passwords
from auth.account.errors import InvalidPassword
from auth.account.reauthentication import audit_actor, session_id_of, verify_password
from auth.account.schemas import PasswordChange
from auth.models import User
from auth.services import AuthServices


async def change(services: AuthServices, caller: Principal, request: PasswordChange) -> None:
    """Set a new password, and end all other sessions of the user.

    Raises as `reauthentication.verify_password` and `passwords.validate_new_password` do.
    """
    user_before = await verify_password(services, caller, request.current_password.get_secret_value())
    password_hash = await passwords.validate_new_password(
        services, user_before, request.new_password.get_secret_value()
    )
    async with services.database.begin() as db:
        # Of many at once, one finds the password that was proven still there.
        same = (User.id == user_before.id, User.password_hash == user_before.password_hash)
        user = await db.scalar(select(User).where(*same).with_for_update())
        if user is None:
            raise InvalidPassword
        await passwords.replace(db, services, user, password_hash, keeping=session_id_of(caller))
        audit.record(db, audit.Action.PASSWORD_CHANGED, **audit_actor(caller))

"""Making sure that it is still the person who has signed in: the password is asked for again."""

from typing import Any
from uuid import UUID

from servicekit.auth.tokens import Principal
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, client_info, users
from auth.account import password_check
from auth.account.errors import PasswordWrong
from auth.errors import SessionEnded
from auth.models import Session, Status, User
from auth.services import Parts
from auth.sessions import sessions


def by(caller: Principal) -> dict[str, Any]:
    """Tell the audit log who does something, and in which of their sessions."""
    return {"actor": caller.subject, "tenant_id": caller.tenant_id, "session_id": session_of(caller)}


def session_of(caller: Principal) -> UUID | None:
    """Give the session that a caller's token belongs to."""
    return UUID(caller.session_id) if caller.session_id else None


async def present(db: AsyncSession, caller: Principal) -> User:
    """Give the account of a caller whose session goes on; raises PeopleOnly or SessionEnded."""
    user_id = users.person(caller)
    user = await db.scalar(
        select(User)
        .join(Session, Session.user_id == User.id)
        .where(User.id == user_id, User.status == Status.ACTIVE)
        .where(Session.id == session_of(caller), sessions.LIVE)
    )
    if user is None:
        raise SessionEnded
    return user


async def prove(parts: Parts, caller: Principal, password: str) -> User:
    """Give the account of a caller who knows its password.

    Counts against the account like an attempt to sign in from a known device.
    Raises PeopleOnly, SessionEnded, RateLimited, TooManySignIns or PasswordWrong.
    """
    async with parts.database.begin() as db:
        user = await present(db, caller)
    await parts.rates.of_subject("token", user.email_key)
    from_where = client_info.current()
    attempt = await parts.lockout.begin(
        user.email_key, f"session {caller.session_id}", from_where.digest if from_where else b""
    )
    if not await password_check.try_password(parts, attempt, user, password):
        await parts.lockout.failed(attempt)
        async with parts.database.begin() as db:
            audit.record(db, audit.Action.LOGIN_FAIL, **by(caller), reason="wrong password, asked for again")
            if attempt.may_try(user):
                await password_check.note_wrong_password(db, user)
        raise PasswordWrong
    await parts.lockout.passed(attempt)
    return user

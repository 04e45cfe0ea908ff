"""Verify the password of a caller who is signed in."""

from typing import Any
from uuid import UUID

from servicekit.auth.tokens import Principal
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, client_info, users
from auth.account import password_check
from auth.account.errors import InvalidPassword
from auth.errors import SessionEnded
from auth.models import Session, Status, User
from auth.security.lockout import Attempt
from auth.services import AuthServices
from auth.sessions import sessions


def audit_actor(caller: Principal) -> dict[str, Any]:
    """Return the audit fields of a caller: actor, tenant and session."""
    return {"actor": caller.subject, "tenant_id": caller.tenant_id, "session_id": session_id_of(caller)}


def session_id_of(caller: Principal) -> UUID | None:
    """Return the session that a caller's token belongs to."""
    return UUID(caller.session_id) if caller.session_id else None


async def get_current_user(db: AsyncSession, caller: Principal) -> User:
    """Return the account of a caller with a live session; raises PeopleOnly or SessionEnded."""
    user_id = users.user_id_of(caller)
    user = await db.scalar(
        select(User)
        .join(Session, Session.user_id == User.id)
        .where(User.id == user_id, User.status == Status.ACTIVE)
        .where(Session.id == session_id_of(caller), sessions.IS_LIVE)
    )
    if user is None:
        raise SessionEnded
    return user


async def verify_password(services: AuthServices, caller: Principal, password: str) -> User:
    """Verify the caller's password and return their account.

    Counts against the account like an attempt to sign in from a known device.
    Raises PeopleOnly, SessionEnded, RateLimited, TooManySignIns or InvalidPassword.
    """
    async with services.database.begin() as db:
        user = await get_current_user(db, caller)
    await services.rates.check_subject("token", user.email_key)
    from_where = client_info.current_client()
    attempt = await services.lockout.start_attempt(
        user.email_key, f"session {caller.session_id}", from_where.digest if from_where else b""
    )
    if not await password_check.verify(services, attempt, user, password):
        await services.lockout.fail(attempt)
        async with services.database.begin() as db:
            await record_failure(db, caller, attempt, user)
        raise InvalidPassword
    await services.lockout.succeed(attempt)
    return user


async def record_failure(db: AsyncSession, caller: Principal, attempt: Attempt, user: User) -> None:
    """Audit a wrong password, and count it unless the account is locked."""
    reason = "wrong password, asked for again"
    audit.record(db, audit.Action.LOGIN_FAIL, **audit_actor(caller), reason=reason)
    if attempt.may_try(user):
        await password_check.record_failure(db, user)

"""Switches to another tenant, without a new sign-in."""

from uuid import UUID

from servicekit.auth.tokens import Principal
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, users
from auth.access.errors import TenantNotFound
from auth.audit import Action
from auth.errors import SessionEnded
from auth.models import EndReason, Session
from auth.schemas import TokenResponse
from auth.services import AuthServices
from auth.sessions import sessions


async def switch(
    db: AsyncSession, services: AuthServices, caller: Principal, tenant_id: UUID
) -> TokenResponse:
    """Begin a session in another tenant of the caller's, and end the current one.

    The time and methods of the sign-in, and the end of the session, stay the same.
    Raises SessionEnded or TenantNotFound.
    """
    user_id = users.user_id_of(caller)
    await users.lock_user(db, user_id)
    before = await lock_session(db, caller)
    access = await sessions.get_access(db, services, user_id, tenant_id)
    if access is None:
        raise TenantNotFound
    await sessions.end(db, EndReason.SWITCHED, Session.id == before.id)
    tokens = await sessions.begin(
        db, services, access, before.amr, after=before, authenticated_at=before.authenticated_at
    )
    audit.record(
        db, Action.TENANT_SWITCHED, tenant_id=tenant_id, actor=caller.subject, session_id=tokens.session_id
    )
    return tokens


async def lock_session(db: AsyncSession, caller: Principal) -> Session:
    """Lock and return the caller's live session; raises SessionEnded."""
    own = (Session.id == caller.session_id, Session.user_id == users.user_id_of(caller))
    session: Session | None = await db.scalar(select(Session).where(*own, sessions.IS_LIVE).with_for_update())
    if session is None:
        raise SessionEnded
    return session

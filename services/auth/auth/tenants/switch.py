"""Going on in another tenant, without proving again who one is."""

from uuid import UUID

from servicekit.auth.tokens import Principal
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, users
from auth.access.errors import TenantUnknown
from auth.audit import Action
from auth.errors import SessionEnded
from auth.models import EndReason, Session
from auth.schemas import SessionBundle
from auth.services import Parts
from auth.sessions import sessions


async def switch(db: AsyncSession, parts: Parts, caller: Principal, tenant_id: UUID) -> SessionBundle:
    """Begin a session in another tenant of the caller's; the one before ends, as whenever rights change.

    It is no new sign-in: when and how they proved who they are, and until when that holds, stays.
    Raises SessionEnded or TenantUnknown.
    """
    user_id = users.person(caller)
    await users.hold_person(db, user_id)
    live = select(Session).where(Session.id == caller.session_id, Session.user_id == user_id, sessions.LIVE)
    before = await db.scalar(live.with_for_update())
    if before is None:
        raise SessionEnded
    standing = await sessions.entering(db, parts, user_id, tenant_id)
    if standing is None:
        raise TenantUnknown
    await sessions.end(db, EndReason.SWITCHED, Session.id == before.id)
    bundle = await sessions.begin(
        db, parts, standing, before.amr, after=before, authenticated_at=before.authenticated_at
    )
    audit.record(
        db, Action.TENANT_SWITCHED, tenant_id=tenant_id, actor=caller.subject, session_id=bundle.session_id
    )
    return bundle

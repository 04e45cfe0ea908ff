"""HTTP routes of invites."""

from typing import Annotated
from uuid import UUID

from fastapi import status
from servicekit.auth.dependencies import Caller, require
from servicekit.auth.tokens import Principal
from servicekit.database import Session
from servicekit.schemas import Cursor, Limit, Page

from auth.access.sensitive_actions import SensitiveAction
from auth.routing import auth_router
from auth.schemas import Accepted
from auth.security.rate_limits import limited
from auth.services import PartsOfAuth
from auth.sessions.authorization import sensitive
from auth.tenants import invites, schemas

MemberManager = Annotated[Principal, require("members:manage")]

router = auth_router("invites")


@router.post("/tenants/current/invites", status_code=status.HTTP_201_CREATED)
async def invite(
    wanted: schemas.NewInvite,
    caller: Annotated[Principal, sensitive(SensitiveAction.CREATE_INVITE)],
    parts: PartsOfAuth,
    session: Session,
) -> schemas.MadeInvite:
    """Invite an address by mail; or, without one, make a link that several may use."""
    return await invites.create(session, parts, caller, wanted)


@router.get("/tenants/current/invites")
async def tenant_invites(
    caller: MemberManager, session: Session, limit: Limit = 50, cursor: Cursor = None
) -> Page[schemas.Invite]:
    """List the invites of the tenant: who invited whom, and what came of it."""
    items, next_cursor = await invites.of_tenant(session, caller, limit, cursor)
    return Page(items=items, next_cursor=next_cursor)


@router.delete("/tenants/current/invites/{invite_id}", status_code=status.HTTP_204_NO_CONTENT)
async def revoke_invite(
    invite_id: UUID, caller: Annotated[Principal, sensitive(SensitiveAction.REVOKE_INVITE)], session: Session
) -> None:
    """Make an invite void."""
    await invites.revoke(session, caller, invite_id)


@router.post("/tenants/current/invites/{invite_id}/resend", status_code=status.HTTP_202_ACCEPTED)
async def resend_invite(
    invite_id: UUID,
    caller: Annotated[Principal, sensitive(SensitiveAction.RESEND_INVITE)],
    parts: PartsOfAuth,
    session: Session,
) -> Accepted:
    """Send an invite again; the link of the mail before is void."""
    await invites.resend(session, parts, caller, invite_id)
    return Accepted()


@router.post("/invites/accept", dependencies=[limited("invites/accept")])
async def accept_invite(
    held: schemas.InviteToken, caller: Caller, parts: PartsOfAuth, session: Session
) -> schemas.Joined:
    """Join the tenant of an invite; switch to it to work in it."""
    return await invites.accept(session, parts, caller, held.token.get_secret_value())

"""HTTP routes of invites."""

from typing import Annotated
from uuid import UUID

from fastapi import status
from servicekit.auth.dependencies import Caller, require
from servicekit.auth.tokens import Principal
from servicekit.database import Session as Db
from servicekit.schemas import Cursor, Limit, Page

from auth.access.sensitive_actions import SensitiveAction
from auth.routing import auth_router
from auth.schemas import Accepted
from auth.security.rate_limits import rate_limited
from auth.services import Services
from auth.sessions.authorization import sensitive
from auth.tenants import invites, schemas

MemberManager = Annotated[Principal, require("members:manage")]

router = auth_router("invites")


@router.post("/tenants/current/invites", status_code=status.HTTP_201_CREATED)
async def create_invite(
    request: schemas.NewInvite,
    caller: Annotated[Principal, sensitive(SensitiveAction.CREATE_INVITE)],
    services: Services,
    db: Db,
) -> schemas.CreatedInvite:
    """Invite an address by email; or, without one, create a link that several people may use."""
    return await invites.create(db, services, caller, request)


@router.get("/tenants/current/invites")
async def list_invites(
    caller: MemberManager, db: Db, limit: Limit = 50, cursor: Cursor = None
) -> Page[schemas.Invite]:
    """List the invites of the tenant, with their inviters and status."""
    items, next_cursor = await invites.list_invites(db, caller, limit, cursor)
    return Page(items=items, next_cursor=next_cursor)


@router.delete("/tenants/current/invites/{invite_id}", status_code=status.HTTP_204_NO_CONTENT)
async def revoke_invite(
    invite_id: UUID, caller: Annotated[Principal, sensitive(SensitiveAction.REVOKE_INVITE)], db: Db
) -> None:
    """Revoke an invite."""
    await invites.revoke(db, caller, invite_id)


@router.post("/tenants/current/invites/{invite_id}/resend", status_code=status.HTTP_202_ACCEPTED)
async def resend_invite(
    invite_id: UUID,
    caller: Annotated[Principal, sensitive(SensitiveAction.RESEND_INVITE)],
    services: Services,
    db: Db,
) -> Accepted:
    """Send an invite again; the link of the previous email becomes invalid."""
    await invites.resend(db, services, caller, invite_id)
    return Accepted()


@router.post("/invites/accept", dependencies=[rate_limited("invites/accept")])
async def accept_invite(
    request: schemas.InviteToken, caller: Caller, services: Services, db: Db
) -> schemas.Joined:
    """Join the tenant of an invite; switch to it to work in it."""
    return await invites.accept(db, services, caller, request.token.get_secret_value())

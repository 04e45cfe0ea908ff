"""The addresses of the ways in: invites, and requests to sign up."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, status
from servicekit.auth.dependencies import Caller, public, require
from servicekit.auth.tokens import Principal
from servicekit.database import Session
from servicekit.schemas import Cursor, Limit, Page

from auth.access.sensitive_actions import SensitiveAction
from auth.client_info import origin
from auth.models import RequestStatus
from auth.registration import signup_requests as signups
from auth.routing import no_store
from auth.schemas import Accepted
from auth.security.rate_limits import limited
from auth.services import PartsOfAuth
from auth.sessions.authorization import sensitive
from auth.tenants import invites, schemas

MemberManager = Annotated[Principal, require("members:manage")]

entry_api = APIRouter(
    prefix="/api/v1/auth", tags=["ways in"], dependencies=[Depends(no_store), Depends(origin)]
)


@entry_api.post("/tenants/current/invites", status_code=status.HTTP_201_CREATED)
async def invite(
    wanted: schemas.NewInvite,
    caller: Annotated[Principal, sensitive(SensitiveAction.CREATE_INVITE)],
    parts: PartsOfAuth,
    session: Session,
) -> schemas.MadeInvite:
    """Invite an address by mail; or, without one, make a link that several may use."""
    return await invites.create(session, parts, caller, wanted)


@entry_api.get("/tenants/current/invites")
async def tenant_invites(
    caller: MemberManager, session: Session, limit: Limit = 50, cursor: Cursor = None
) -> Page[schemas.Invite]:
    """List the invites of the tenant: who invited whom, and what came of it."""
    items, next_cursor = await invites.of_tenant(session, caller, limit, cursor)
    return Page(items=items, next_cursor=next_cursor)


@entry_api.delete("/tenants/current/invites/{invite_id}", status_code=status.HTTP_204_NO_CONTENT)
async def revoke_invite(
    invite_id: UUID, caller: Annotated[Principal, sensitive(SensitiveAction.REVOKE_INVITE)], session: Session
) -> None:
    """Make an invite void."""
    await invites.revoke(session, caller, invite_id)


@entry_api.post("/tenants/current/invites/{invite_id}/resend", status_code=status.HTTP_202_ACCEPTED)
async def resend_invite(
    invite_id: UUID,
    caller: Annotated[Principal, sensitive(SensitiveAction.RESEND_INVITE)],
    parts: PartsOfAuth,
    session: Session,
) -> Accepted:
    """Send an invite again; the link of the mail before is void."""
    await invites.resend(session, parts, caller, invite_id)
    return Accepted()


@entry_api.post("/invites/accept", dependencies=[limited("invites/accept")])
async def accept_invite(
    held: schemas.InviteToken, caller: Caller, parts: PartsOfAuth, session: Session
) -> schemas.Joined:
    """Join the tenant of an invite; switch to it to work in it."""
    return await invites.accept(session, parts, caller, held.token.get_secret_value())


@entry_api.get("/signup-policy", dependencies=[public])
async def signup_policy(parts: PartsOfAuth) -> schemas.SignupPolicy:
    """Tell how one gets an account here."""
    return schemas.SignupPolicy(policy=parts.settings.auth_signup_policy)


@entry_api.post(
    "/signup-requests",
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[public, limited("signup-requests")],
)
async def request_access(wanted: schemas.AccessRequest, parts: PartsOfAuth) -> Accepted:
    """Ask the operators for access; what they decide comes by mail."""
    await signups.ask(parts, wanted)
    return Accepted()


@entry_api.get("/signup-requests")
async def signup_requests(
    _: signups.Operator,
    session: Session,
    status: Annotated[RequestStatus | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[schemas.SignupRequest]:
    """List who has asked for access; for operators."""
    items, next_cursor = await signups.requests(session, status, limit, cursor)
    return Page(items=items, next_cursor=next_cursor)


@entry_api.post("/signup-requests/{request_id}/approve")
async def approve_request(
    request_id: UUID,
    caller: Annotated[Principal, sensitive(SensitiveAction.APPROVE_SIGNUP)],
    parts: PartsOfAuth,
    session: Session,
) -> schemas.SignupRequest:
    """Let somebody sign up: an invite goes to their address; for operators."""
    return await signups.approve(session, parts, caller, request_id)


@entry_api.post("/signup-requests/{request_id}/reject")
async def reject_request(
    request_id: UUID,
    rejection: schemas.Rejection,
    caller: Annotated[Principal, sensitive(SensitiveAction.REJECT_SIGNUP)],
    parts: PartsOfAuth,
    session: Session,
) -> schemas.SignupRequest:
    """Turn somebody down; for operators."""
    return await signups.reject(session, parts, caller, request_id, rejection.reason)

"""The addresses of tenants and of their members."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Response, status
from servicekit.auth.dependencies import SignedIn, on_behalf_of, require
from servicekit.auth.tokens import Principal
from servicekit.database import Session
from servicekit.schemas import Cursor, Limit, Page

from auth.access.sensitive_actions import SensitiveAction
from auth.routing import auth_router
from auth.schemas import Accepted, SessionBundle
from auth.services import PartsOfAuth
from auth.sessions.authorization import sensitive
from auth.tenants import lifecycle, members, membership, mfa_reset, schemas, switch
from auth.tenants import settings as preferences

Reader = Annotated[Principal, require("tenant:read")]
Manager = Annotated[Principal, require("tenant:manage")]
IfMatch = Annotated[str | None, Header(max_length=1024, description="The ETag of the settings as last read.")]

router = auth_router("tenants", prefix="/tenants")
members_internal = APIRouter(prefix="/internal/v1/tenants", tags=["tenants"])


@router.post("", status_code=status.HTTP_201_CREATED)
async def create_tenant(
    wanted: schemas.NewTenant,
    caller: Annotated[Principal, sensitive(SensitiveAction.CREATE_TENANT)],
    parts: PartsOfAuth,
    session: Session,
) -> schemas.OwnTenant:
    """Make a tenant of one's own; switch to it to work in it."""
    return await lifecycle.create(session, parts, caller, wanted.name)


@router.get("")
async def own_tenants(
    caller: SignedIn, session: Session, limit: Limit = 50, cursor: Cursor = None
) -> Page[schemas.OwnTenant]:
    """List the tenants that one belongs to."""
    items, next_cursor = await lifecycle.of_person(session, caller, limit, cursor)
    return Page(items=items, next_cursor=next_cursor)


@router.get("/current")
async def current_tenant(caller: Reader, session: Session) -> schemas.OwnTenant:
    """Tell of the tenant that the token is for."""
    return await lifecycle.current(session, caller)


@router.patch("/current")
async def change_tenant(wanted: schemas.TenantChange, caller: Manager, session: Session) -> schemas.OwnTenant:
    """Give the tenant another name or slug."""
    return await lifecycle.change(session, caller, wanted)


@router.delete("/current", status_code=status.HTTP_204_NO_CONTENT)
async def delete_tenant(
    caller: Annotated[Principal, sensitive(SensitiveAction.DELETE_TENANT)],
    parts: PartsOfAuth,
    session: Session,
) -> None:
    """Delete the tenant: nobody gets in any more, and after a while everything is removed."""
    await lifecycle.discard(session, parts, caller)


@router.post("/current/suspend", status_code=status.HTTP_204_NO_CONTENT)
async def suspend_tenant(
    caller: Annotated[Principal, sensitive(SensitiveAction.SUSPEND_TENANT)], session: Session
) -> None:
    """Close the tenant to everybody, oneself included; nothing is lost."""
    await lifecycle.suspend(session, caller)


@router.post("/{tenant_id}/reactivate")
async def reactivate_tenant(
    tenant_id: UUID,
    caller: Annotated[Principal, sensitive(SensitiveAction.REACTIVATE_TENANT)],
    session: Session,
) -> schemas.OwnTenant:
    """Take up a suspended tenant again that one owns, with a token of any tenant, or of none."""
    return await lifecycle.reactivate(session, caller, tenant_id)


@router.post("/{tenant_id}/switch")
async def switch_tenant(
    tenant_id: UUID, caller: SignedIn, parts: PartsOfAuth, session: Session
) -> SessionBundle:
    """Go on in another tenant of one's own: a new session, and the one before ends."""
    return await switch.switch(session, parts, caller, tenant_id)


@router.get("/current/settings", responses={200: {"headers": {"ETag": {"schema": {"type": "string"}}}}})
async def tenant_settings(caller: Reader, session: Session, response: Response) -> schemas.TenantSettings:
    """Give the settings of the tenant."""
    settings, response.headers["ETag"] = await preferences.read(session, caller)
    return settings


@router.put("/current/settings", responses={200: {"headers": {"ETag": {"schema": {"type": "string"}}}}})
async def replace_tenant_settings(  # noqa: PLR0913  # FastAPI hands a route its parts one by one
    wanted: schemas.NewTenantSettings,
    caller: Annotated[Principal, sensitive(SensitiveAction.CHANGE_TENANT_SETTINGS)],
    parts: PartsOfAuth,
    session: Session,
    *,
    response: Response,
    if_match: IfMatch = None,
) -> schemas.TenantSettings:
    """Replace the settings of the tenant; 428 without If-Match, 412 when they were changed meanwhile.

    With `mfa_required`, 409 while the caller has no second factor. Members without one set one up at their
    next sign-in; sessions that were begun with one factor end at their next refresh. API keys go on working.
    """
    settings, response.headers["ETag"] = await preferences.replace(session, parts, caller, wanted, if_match)
    return settings


@router.get("/current/members")
async def tenant_members(
    caller: Reader, session: Session, limit: Limit = 50, cursor: Cursor = None
) -> Page[schemas.Member]:
    """List the members of the tenant."""
    items, next_cursor = await members.of_tenant(session, caller, limit, cursor)
    return Page(items=items, next_cursor=next_cursor)


@router.patch("/current/members/{user_id}")
async def change_member(
    user_id: UUID,
    wanted: schemas.RoleChange,
    caller: Annotated[Principal, sensitive(SensitiveAction.CHANGE_ROLE)],
    parts: PartsOfAuth,
    session: Session,
) -> schemas.Member:
    """Make a member something else; their tokens tell from their next refresh on."""
    return await members.change_role(session, parts, caller, user_id, wanted.role)


@router.delete("/current/members/{user_id}", status_code=status.HTTP_204_NO_CONTENT)
async def remove_member(
    user_id: UUID,
    caller: Annotated[Principal, sensitive(SensitiveAction.REMOVE_MEMBER)],
    parts: PartsOfAuth,
    session: Session,
) -> None:
    """Take a member out of the tenant, and end their sessions in it."""
    await members.remove(session, parts, caller, user_id)


@router.delete("/current/members/{user_id}/sessions", status_code=status.HTTP_204_NO_CONTENT)
async def end_member_sessions(
    user_id: UUID,
    caller: Annotated[Principal, sensitive(SensitiveAction.END_MEMBER_SESSIONS)],
    session: Session,
) -> None:
    """Sign a member out of the tenant, on every device."""
    await members.end_sessions(session, caller, user_id)


@router.post("/current/members/{user_id}/password-reset", status_code=status.HTTP_202_ACCEPTED)
async def have_password_reset(
    user_id: UUID,
    caller: Annotated[Principal, sensitive(SensitiveAction.SEND_PASSWORD_RESET)],
    parts: PartsOfAuth,
) -> Accepted:
    """Send a member the mail with which they set a new password; nobody else ever sets it."""
    await members.send_password_reset(parts, caller, user_id)
    return Accepted()


@router.post(
    "/current/members/{user_id}/second-factor-reset",
    status_code=status.HTTP_204_NO_CONTENT,
)
async def reset_second_factors(
    user_id: UUID,
    caller: Annotated[Principal, sensitive(SensitiveAction.RESET_SECOND_FACTORS)],
    parts: PartsOfAuth,
    session: Session,
) -> None:
    """Remove the lost second factors of a member of this tenant alone; they set a new password by mail."""
    await mfa_reset.reset(session, parts, caller, user_id)


@router.post("/current/leave", status_code=status.HTTP_204_NO_CONTENT)
async def leave_tenant(
    caller: Annotated[Principal, sensitive(SensitiveAction.LEAVE_TENANT)], session: Session
) -> None:
    """Leave the tenant."""
    await members.leave(session, caller)


@router.post("/current/transfer-ownership", status_code=status.HTTP_204_NO_CONTENT)
async def transfer_ownership(
    wanted: schemas.NewOwner,
    caller: Annotated[Principal, sensitive(SensitiveAction.TRANSFER_OWNERSHIP)],
    parts: PartsOfAuth,
    session: Session,
) -> None:
    """Make another member the owner, and oneself an admin."""
    await members.transfer(session, parts, caller, wanted.user_id)


@members_internal.get("/{tenant_id}/members/{subject}")
async def belonging_of(
    tenant_id: UUID,
    subject: str,
    caller: Annotated[Principal, on_behalf_of("members:read")],
    parts: PartsOfAuth,
    session: Session,
) -> schemas.Belonging:
    """Tell a service what the one it acts for is in the tenant, now; 404 when nothing."""
    return await membership.find(session, parts, caller, tenant_id, subject)

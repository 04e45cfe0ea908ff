"""The routes of tenants and their members."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Response, status
from servicekit.auth.dependencies import SignedIn, on_behalf_of, require, service_only
from servicekit.auth.tokens import Principal
from servicekit.database import Session as Db
from servicekit.schemas import Cursor, Limit, Page

from auth.access.sensitive_actions import SensitiveAction
from auth.routing import auth_router, no_store
from auth.schemas import Accepted, TokenResponse
from auth.services import Services
from auth.sessions.authorization import sensitive
from auth.tenants import lifecycle, members, membership, mfa_reset, owners, schemas, switch
from auth.tenants import settings as preferences

Reader = Annotated[Principal, require("tenant:read")]
Manager = Annotated[Principal, require("tenant:manage")]
IfMatch = Annotated[str | None, Header(max_length=1024, description="The ETag of the settings as last read.")]

router = auth_router("tenants", prefix="/tenants")
internal_router = APIRouter(prefix="/internal/v1/tenants", tags=["tenants"])


@router.post("", status_code=status.HTTP_201_CREATED)
async def create_tenant(
    request: schemas.NewTenant,
    caller: Annotated[Principal, sensitive(SensitiveAction.CREATE_TENANT)],
    services: Services,
    db: Db,
) -> schemas.OwnTenant:
    """Create a tenant of one's own; switch to it to work in it."""
    return await lifecycle.create(db, services, caller, request.name)


@router.get("")
async def list_tenants(
    caller: SignedIn, db: Db, limit: Limit = 50, cursor: Cursor = None
) -> Page[schemas.OwnTenant]:
    """List the tenants that one belongs to."""
    items, next_cursor = await lifecycle.list_own(db, caller, limit, cursor)
    return Page(items=items, next_cursor=next_cursor)


@router.get("/current")
async def get_tenant(caller: Reader, db: Db) -> schemas.OwnTenant:
    """Return the tenant of the access token."""
    return await lifecycle.current(db, caller)


@router.patch("/current")
async def change_tenant(request: schemas.TenantChange, caller: Manager, db: Db) -> schemas.OwnTenant:
    """Rename the tenant, or change its slug."""
    return await lifecycle.change(db, caller, request)


@router.delete("/current", status_code=status.HTTP_204_NO_CONTENT)
async def delete_tenant(
    caller: Annotated[Principal, sensitive(SensitiveAction.DELETE_TENANT)],
    services: Services,
    db: Db,
) -> None:
    """Delete the tenant: nobody has access any more, and its data is purged later."""
    await lifecycle.delete_own(db, services, caller)


@router.post("/current/suspend", status_code=status.HTTP_204_NO_CONTENT)
async def suspend_tenant(
    caller: Annotated[Principal, sensitive(SensitiveAction.SUSPEND_TENANT)], db: Db
) -> None:
    """Suspend the tenant: nobody has access, oneself included; its data is kept."""
    await lifecycle.suspend_own(db, caller)


@router.post("/{tenant_id}/reactivate")
async def reactivate_tenant(
    tenant_id: UUID,
    caller: Annotated[Principal, sensitive(SensitiveAction.REACTIVATE_TENANT)],
    db: Db,
) -> schemas.OwnTenant:
    """Reactivate a suspended tenant that the caller owns, with a token of any tenant, or of none."""
    return await lifecycle.reactivate_own(db, caller, tenant_id)


@router.post("/{tenant_id}/switch")
async def switch_tenant(tenant_id: UUID, caller: SignedIn, services: Services, db: Db) -> TokenResponse:
    """Switch to another tenant of the caller's: a new session begins, the previous one ends."""
    return await switch.switch(db, services, caller, tenant_id)


@router.get("/current/settings", responses={200: {"headers": {"ETag": {"schema": {"type": "string"}}}}})
async def get_tenant_settings(caller: Reader, db: Db, response: Response) -> schemas.TenantSettings:
    """Return the settings of the tenant."""
    settings, response.headers["ETag"] = await preferences.read(db, caller)
    return settings


@router.put("/current/settings", responses={200: {"headers": {"ETag": {"schema": {"type": "string"}}}}})
async def replace_tenant_settings(  # noqa: PLR0913  # FastAPI hands a route its parts one by one
    request: schemas.NewTenantSettings,
    caller: Annotated[Principal, sensitive(SensitiveAction.CHANGE_TENANT_SETTINGS)],
    services: Services,
    db: Db,
    *,
    response: Response,
    if_match: IfMatch = None,
) -> schemas.TenantSettings:
    """Replace the settings of the tenant; 428 without If-Match, 412 when they were changed meanwhile.

    With `mfa_required`, 409 while the caller has no second factor. Members without one set one up at their
    next sign-in; sessions that were begun with one factor end at their next refresh. API keys go on working.
    """
    settings, response.headers["ETag"] = await preferences.replace(db, services, caller, request, if_match)
    return settings


@router.get("/current/members")
async def list_members(
    caller: Reader, db: Db, limit: Limit = 50, cursor: Cursor = None
) -> Page[schemas.Member]:
    """List the members of the tenant."""
    items, next_cursor = await members.list_members(db, caller, limit, cursor)
    return Page(items=items, next_cursor=next_cursor)


@router.patch("/current/members/{user_id}")
async def change_member(
    user_id: UUID,
    request: schemas.RoleChange,
    caller: Annotated[Principal, sensitive(SensitiveAction.CHANGE_ROLE)],
    services: Services,
    db: Db,
) -> schemas.Member:
    """Change a member's role; their tokens have it from the next refresh on."""
    return await members.change_role(db, services, caller, user_id, request.role)


@router.delete("/current/members/{user_id}", status_code=status.HTTP_204_NO_CONTENT)
async def remove_member(
    user_id: UUID,
    caller: Annotated[Principal, sensitive(SensitiveAction.REMOVE_MEMBER)],
    services: Services,
    db: Db,
) -> None:
    """Remove a member from the tenant, and end their sessions in it."""
    await members.remove(db, services, caller, user_id)


@router.delete("/current/members/{user_id}/sessions", status_code=status.HTTP_204_NO_CONTENT)
async def end_member_sessions(
    user_id: UUID,
    caller: Annotated[Principal, sensitive(SensitiveAction.END_MEMBER_SESSIONS)],
    db: Db,
) -> None:
    """Sign a member out of the tenant, on every device."""
    await members.end_sessions(db, caller, user_id)


@router.post("/current/members/{user_id}/password-reset", status_code=status.HTTP_202_ACCEPTED)
async def send_password_reset(
    user_id: UUID,
    caller: Annotated[Principal, sensitive(SensitiveAction.SEND_PASSWORD_RESET)],
    services: Services,
) -> Accepted:
    """Send a member the password reset email."""
    await members.send_password_reset(services, caller, user_id)
    return Accepted()


@router.post(
    "/current/members/{user_id}/second-factor-reset",
    status_code=status.HTTP_204_NO_CONTENT,
)
async def reset_second_factors(
    user_id: UUID,
    caller: Annotated[Principal, sensitive(SensitiveAction.RESET_SECOND_FACTORS)],
    services: Services,
    db: Db,
) -> None:
    """Remove the lost second factors of a member of this tenant alone; they set a new password by mail."""
    await mfa_reset.reset(db, services, caller, user_id)


@router.post("/current/leave", status_code=status.HTTP_204_NO_CONTENT)
async def leave_tenant(caller: Annotated[Principal, sensitive(SensitiveAction.LEAVE_TENANT)], db: Db) -> None:
    """Leave the tenant."""
    await members.leave(db, caller)


@router.post("/current/transfer-ownership", status_code=status.HTTP_204_NO_CONTENT)
async def transfer_ownership(
    request: schemas.NewOwner,
    caller: Annotated[Principal, sensitive(SensitiveAction.TRANSFER_OWNERSHIP)],
    services: Services,
    db: Db,
) -> None:
    """Make another member the owner, and oneself an admin."""
    await members.transfer(db, services, caller, request.user_id)


@internal_router.get("/{tenant_id}/members/{subject}")
async def get_membership(
    tenant_id: UUID,
    subject: str,
    caller: Annotated[Principal, on_behalf_of("members:read")],
    services: Services,
    db: Db,
) -> schemas.CurrentMembership:
    """Return the current membership of a subject, for the service that acts on its behalf."""
    return await membership.get_membership(db, services, caller, tenant_id, subject)


@internal_router.get("/{tenant_id}/owners", dependencies=[service_only("owners:read"), Depends(no_store)])
async def list_owners(tenant_id: UUID, db: Db) -> schemas.TenantOwners:
    """Return the owners of a tenant with their addresses, for the service that sends email."""
    return await owners.list_owners(db, tenant_id)

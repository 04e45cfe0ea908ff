"""HTTP routes of signing up, of confirming an address, and of requests for access."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, status
from servicekit.auth.dependencies import public
from servicekit.auth.tokens import Principal
from servicekit.database import Session
from servicekit.schemas import Cursor, Limit, Page

from auth import schemas
from auth.access.sensitive_actions import SensitiveAction
from auth.models import RequestStatus
from auth.registration import email_verification, registration
from auth.registration import signup_requests as signups
from auth.routing import auth_router
from auth.schemas import Accepted
from auth.security.rate_limits import limited
from auth.services import PartsOfAuth
from auth.sessions.authorization import sensitive
from auth.tenants import schemas as tenant_schemas

router = auth_router("registration")


@router.get("/signup-policy", dependencies=[public])
async def signup_policy(parts: PartsOfAuth) -> tenant_schemas.SignupPolicy:
    """Tell how one gets an account here."""
    return tenant_schemas.SignupPolicy(policy=parts.settings.auth_signup_policy)


@router.post(
    "/signup-requests",
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[public, limited("signup-requests")],
)
async def request_access(wanted: tenant_schemas.AccessRequest, parts: PartsOfAuth) -> Accepted:
    """Ask the operators for access; what they decide comes by mail."""
    await signups.ask(parts, wanted)
    return Accepted()


@router.get("/signup-requests")
async def signup_requests(
    _: signups.Operator,
    session: Session,
    status: Annotated[RequestStatus | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[tenant_schemas.SignupRequest]:
    """List who has asked for access; for operators."""
    items, next_cursor = await signups.requests(session, status, limit, cursor)
    return Page(items=items, next_cursor=next_cursor)


@router.post("/signup-requests/{request_id}/approve")
async def approve_request(
    request_id: UUID,
    caller: Annotated[Principal, sensitive(SensitiveAction.APPROVE_SIGNUP)],
    parts: PartsOfAuth,
    session: Session,
) -> tenant_schemas.SignupRequest:
    """Let somebody sign up: an invite goes to their address; for operators."""
    return await signups.approve(session, parts, caller, request_id)


@router.post("/signup-requests/{request_id}/reject")
async def reject_request(
    request_id: UUID,
    rejection: tenant_schemas.Rejection,
    caller: Annotated[Principal, sensitive(SensitiveAction.REJECT_SIGNUP)],
    parts: PartsOfAuth,
    session: Session,
) -> tenant_schemas.SignupRequest:
    """Turn somebody down; for operators."""
    return await signups.reject(session, parts, caller, request_id, rejection.reason)


@router.post("/register", status_code=status.HTTP_202_ACCEPTED, dependencies=[public, limited("register")])
async def sign_up(wanted: schemas.Registration, parts: PartsOfAuth) -> schemas.Accepted:
    """Sign up, with a tenant of one's own; what comes next is in the mail."""
    await registration.register(parts, wanted)
    return schemas.Accepted()


@router.post(
    "/email/send", status_code=status.HTTP_202_ACCEPTED, dependencies=[public, limited("email/send")]
)
async def send_confirmation(asked: schemas.MailRequest, parts: PartsOfAuth) -> schemas.Accepted:
    """Send the confirming mail again; the link of the one before is void."""
    await registration.send_again(parts, asked.email)
    return schemas.Accepted()


@router.post("/email/verify", dependencies=[public, limited("email/verify")])
async def confirm_address(confirmation: schemas.Confirmation, parts: PartsOfAuth) -> schemas.EmailVerified:
    """Confirm an address with the token of its mail. No GET does: scanners of mail follow links.

    Send the password of the sign-up with it: a link alone also confirms what somebody else signed up with.
    Where several sign-ups of the address are waiting, the password is required, and chooses.
    """
    await email_verification.confirm(parts, confirmation)
    return schemas.EmailVerified()

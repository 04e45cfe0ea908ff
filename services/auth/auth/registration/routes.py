"""HTTP routes of signing up, of confirming an address, and of requests for access."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, status
from servicekit.auth.dependencies import public
from servicekit.auth.tokens import Principal
from servicekit.database import Session as Db
from servicekit.schemas import Cursor, Limit, Page

from auth import schemas
from auth.access.sensitive_actions import SensitiveAction
from auth.models import RequestStatus
from auth.registration import email_verification, registration
from auth.registration import signup_requests as signups
from auth.routing import auth_router
from auth.schemas import Accepted
from auth.security.rate_limits import rate_limited
from auth.services import Services
from auth.sessions.authorization import sensitive
from auth.tenants import schemas as tenant_schemas

router = auth_router("registration")


@router.get("/signup-policy", dependencies=[public])
async def get_signup_policy(services: Services) -> tenant_schemas.SignupPolicy:
    """Return the sign-up policy."""
    return tenant_schemas.SignupPolicy(policy=services.settings.auth_signup_policy)


@router.post(
    "/signup-requests",
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[public, rate_limited("signup-requests")],
)
async def request_access(request: tenant_schemas.AccessRequest, services: Services) -> Accepted:
    """Request access from the operators; the decision comes by email."""
    await signups.submit(services, request)
    return Accepted()


@router.get("/signup-requests")
async def list_signup_requests(
    _: signups.Operator,
    db: Db,
    status: Annotated[RequestStatus | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[tenant_schemas.SignupRequest]:
    """List the requests for access; for operators."""
    items, next_cursor = await signups.list_requests(db, status, limit, cursor)
    return Page(items=items, next_cursor=next_cursor)


@router.post("/signup-requests/{request_id}/approve")
async def approve_signup_request(
    request_id: UUID,
    caller: Annotated[Principal, sensitive(SensitiveAction.APPROVE_SIGNUP)],
    services: Services,
    db: Db,
) -> tenant_schemas.SignupRequest:
    """Approve a request for access; an invite goes to its email address. For operators."""
    return await signups.approve(db, services, caller, request_id)


@router.post("/signup-requests/{request_id}/reject")
async def reject_signup_request(
    request_id: UUID,
    rejection: tenant_schemas.Rejection,
    caller: Annotated[Principal, sensitive(SensitiveAction.REJECT_SIGNUP)],
    services: Services,
    db: Db,
) -> tenant_schemas.SignupRequest:
    """Reject a request for access. For operators."""
    return await signups.reject(db, services, caller, request_id, rejection.reason)


@router.post(
    "/register", status_code=status.HTTP_202_ACCEPTED, dependencies=[public, rate_limited("register")]
)
async def sign_up(request: schemas.Registration, services: Services) -> schemas.Accepted:
    """Sign up; an email says what comes next."""
    await registration.register(services, request)
    return schemas.Accepted()


@router.post(
    "/email/send", status_code=status.HTTP_202_ACCEPTED, dependencies=[public, rate_limited("email/send")]
)
async def resend_verification(request: schemas.EmailRequest, services: Services) -> schemas.Accepted:
    """Send the verification email again; the link of the previous one becomes invalid."""
    await registration.resend(services, request.email)
    return schemas.Accepted()


@router.post("/email/verify", dependencies=[public, rate_limited("email/verify")])
async def verify_email(confirmation: schemas.Confirmation, services: Services) -> schemas.EmailVerified:
    """Verify an address with the token of the email. Not by GET: mail scanners follow links.

    Send the password of the sign-up with it: a link alone also confirms what somebody else signed up with.
    Where several sign-ups of the address are waiting, the password is required, and chooses.
    """
    await email_verification.verify(services, confirmation)
    return schemas.EmailVerified()

"""The sign-up policy, and requests for access where sign-up is not public.

Operators are the owners and admins of the tenant that AUTH_OPERATOR_TENANT_ID names. By its id, because ids
are never used again: a slug may be given up, and taken by anybody.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends
from servicekit import pagination
from servicekit.auth.dependencies import require
from servicekit.auth.permissions import Role
from servicekit.auth.tokens import Principal
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, users
from auth.access import signup_policy
from auth.access.errors import OperatorsOnly
from auth.access.roles import authorize
from auth.access.sensitive_actions import SensitiveAction
from auth.audit import Action
from auth.email_address import canonical_email
from auth.emails import Recipient, request_email
from auth.events import EmailKind
from auth.models import Membership, RequestStatus, SignupRequest, Status, User
from auth.registration import existing_account
from auth.registration.errors import (
    SignupClosed,
    SignupRequestAlreadyDecided,
    SignupRequestNotFound,
    SignupRequestsClosed,
)
from auth.security.constant_time import minimum_duration
from auth.security.one_time_tokens import IssuedToken
from auth.services import AuthServices, Services
from auth.tenants import invites, schemas

MAX_OPERATORS = 20
OUTCOMES = {
    SensitiveAction.APPROVE_SIGNUP: RequestStatus.APPROVED,
    SensitiveAction.REJECT_SIGNUP: RequestStatus.REJECTED,
}


async def operator(caller: Annotated[Principal, require("tenant:manage")], services: Services) -> Principal:
    """Require a caller from the operators' tenant; raises OperatorsOnly."""
    if caller.tenant_id is None or caller.tenant_id != services.settings.auth_operator_tenant_id:
        raise OperatorsOnly
    return caller


Operator = Annotated[Principal, Depends(operator)]


def require_signup_allowed(services: AuthServices, email: str, *, invited: bool) -> None:
    """Reject a sign-up that the policy does not allow, before the email address is looked up.

    Raises SignupClosed for who needs an invite, or as `signup_policy.require_allowed` does.
    """
    if services.settings.auth_signup_policy != "public" and not invited:
        raise SignupClosed
    signup_policy.require_allowed(services, email)


async def submit(services: AuthServices, request: schemas.AccessRequest) -> None:
    """Store a request for access and notify the operators, unless the address has an account.

    Raises SignupRequestsClosed where nobody decides on requests, or as `signup_policy.require_allowed` does.
    """
    if services.settings.auth_signup_policy != "approval":
        raise SignupRequestsClosed
    signup_policy.require_allowed(services, request.email)
    async with minimum_duration(services.settings.answer_floor):
        if await services.rates.try_acquire("signup-requests", canonical_email(request.email)):
            async with services.database.begin() as db:
                await store(db, services, request)


async def store(db: AsyncSession, services: AuthServices, request: schemas.AccessRequest) -> None:
    """Store a request for access and notify the operators; notify the account that the address has."""
    account = await users.get_for_update(db, request.email)
    if account and account.status is not Status.PENDING:
        await existing_account.notify(db, services, account)
        return
    request_id = await db.scalar(
        insert(SignupRequest)
        .values(**request.model_dump(), email_key=canonical_email(request.email))
        # One at a time.
        .on_conflict_do_nothing()
        .returning(SignupRequest.id)
    )
    if request_id:
        audit.record(db, Action.ACCESS_REQUESTED, request=str(request_id))
        await notify_operators(db, services, request)


async def list_operators(db: AsyncSession, services: AuthServices) -> Sequence[User]:
    """Return the operators; at most a few."""
    query = (
        select(User)
        .join(Membership, Membership.user_id == User.id)
        .where(
            Membership.tenant_id == services.settings.auth_operator_tenant_id,
            Membership.role.in_([Role.ADMIN, Role.OWNER]),
            User.status == Status.ACTIVE,
        )
        .order_by(Membership.created_at)
        .limit(MAX_OPERATORS)
    )
    return (await db.scalars(query)).all()


async def notify_operators(db: AsyncSession, services: AuthServices, request: schemas.AccessRequest) -> None:
    """Notify the operators, who decide."""
    tenant_id = services.settings.auth_operator_tenant_id
    for user in await list_operators(db, services):
        request_email(
            db,
            services,
            EmailKind.ACCESS_REQUESTED,
            Recipient.from_user(user),
            tenant_id=tenant_id,
            email=request.email,
            name=request.name,
            company=request.company,
        )


async def list_requests(
    db: AsyncSession, status: RequestStatus | None, limit: int, cursor: str | None
) -> tuple[list[schemas.SignupRequest], str | None]:
    """List requests, oldest first."""
    query = select(SignupRequest)
    if status:
        query = query.where(SignupRequest.status == status)
    page = pagination.paginate(query, SignupRequest.created_at, SignupRequest.id, limit, cursor)
    rows = (await db.scalars(page)).all()
    items = [schemas.SignupRequest.model_validate(row) for row in rows[:limit]]
    return items, pagination.next_cursor(rows, limit, "created_at", "id")


async def approve(
    db: AsyncSession, services: AuthServices, caller: Principal, request_id: UUID
) -> schemas.SignupRequest:
    """Approve a request: an invite to sign up with a tenant of one's own goes to its email address."""
    request = await decide(db, caller, request_id, SensitiveAction.APPROVE_SIGNUP)
    invite, token = invites.new_invite(services, request.email, services.settings.auth_invite_ttl_hours)
    invite.invited_by = users.user_id_of(caller)
    db.add(invite)
    issued = IssuedToken(token, invite.expires_at)
    request_email(
        db, services, EmailKind.ACCESS_APPROVED, recipient(request), issued=issued, company=request.company
    )
    audit.record(db, Action.ACCESS_APPROVED, actor=caller.subject, request=str(request_id))
    return schemas.SignupRequest.model_validate(request)


async def reject(
    db: AsyncSession, services: AuthServices, caller: Principal, request_id: UUID, reason: str | None
) -> schemas.SignupRequest:
    """Reject a request and notify the applicant."""
    request = await decide(db, caller, request_id, SensitiveAction.REJECT_SIGNUP)
    to, company = recipient(request), request.company
    request_email(db, services, EmailKind.ACCESS_REJECTED, to, company=company, reason=reason or "")
    audit.record(db, Action.ACCESS_REJECTED, actor=caller.subject, request=str(request_id))
    return schemas.SignupRequest.model_validate(request)


async def decide(
    db: AsyncSession, caller: Principal, request_id: UUID, decision: SensitiveAction
) -> SignupRequest:
    """Decide on a request, once; raises SignupRequestNotFound, SignupRequestAlreadyDecided or RoleTooLow."""
    await authorize(db, caller, decision)
    query = select(SignupRequest).where(SignupRequest.id == request_id)
    request: SignupRequest | None = await db.scalar(query.with_for_update())
    if request is None:
        raise SignupRequestNotFound
    if request.status is not RequestStatus.PENDING:
        raise SignupRequestAlreadyDecided
    request.status, request.decided_at = OUTCOMES[decision], datetime.now(UTC)
    request.decided_by = users.user_id_of(caller)
    return request


def recipient(request: SignupRequest) -> Recipient:
    """Return the applicant as recipient."""
    return Recipient(f"mail:{request.email_key}", request.email, request.name)

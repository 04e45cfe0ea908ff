"""Who may sign up, and asking for it where that is not open to all.

Operators are the owners and admins of the tenant that AUTH_OPERATOR_TENANT_ID names. By its id, because ids
are never used again: a slug may be given up, and taken by anybody.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends
from servicekit.auth.dependencies import require
from servicekit.auth.permissions import Role
from servicekit.auth.tokens import Principal
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, pagination, users
from auth.access import signup_policy
from auth.access.errors import OperatorsOnly
from auth.access.roles import authorize
from auth.access.sensitive_actions import SensitiveAction
from auth.audit import Action
from auth.email_address import key_of
from auth.emails import Recipient, send
from auth.events import MailKind
from auth.models import Membership, RequestStatus, SignupRequest, Status, User
from auth.registration.errors import (
    SignupClosed,
    SignupRequestDecided,
    SignupRequestsClosed,
    SignupRequestUnknown,
)
from auth.security.constant_time import at_least
from auth.security.one_time_tokens import Fresh
from auth.services import Parts, PartsOfAuth
from auth.tenants import invites, schemas

MOST_OPERATORS = 20
OUTCOMES = {
    SensitiveAction.APPROVE_SIGNUP: RequestStatus.APPROVED,
    SensitiveAction.REJECT_SIGNUP: RequestStatus.REJECTED,
}


async def operator(caller: Annotated[Principal, require("tenant:manage")], parts: PartsOfAuth) -> Principal:
    """Let operators in, and nobody else."""
    if caller.tenant_id is None or caller.tenant_id != parts.settings.auth_operator_tenant_id:
        raise OperatorsOnly
    return caller


Operator = Annotated[Principal, Depends(operator)]


def admit(parts: Parts, email: str, *, invited: bool) -> None:
    """Refuse who may not sign up, before anything is known of them.

    Raises SignupClosed for who needs an invite, or as `signup_rules.check` does.
    """
    if parts.settings.auth_signup_policy != "public" and not invited:
        raise SignupClosed
    signup_policy.check(parts, email)


async def ask(parts: Parts, wanted: schemas.AccessRequest) -> None:
    """Keep a request for access and tell the operators; none is kept for an address that has an account.

    Raises SignupRequestsClosed where nobody decides on requests, or as `signup_rules.check` does.
    """
    if parts.settings.auth_signup_policy != "approval":
        raise SignupRequestsClosed
    signup_policy.check(parts, wanted.email)
    async with at_least(parts.settings.answer_floor):
        if await parts.rates.may("signup-requests", key_of(wanted.email)):
            async with parts.database.begin() as db:
                await keep(db, parts, wanted)


async def keep(db: AsyncSession, parts: Parts, wanted: schemas.AccessRequest) -> None:
    """Keep a request for access and tell the operators, unless the address has an account."""
    account = await users.find(db, wanted.email)
    if account and account.status is not Status.PENDING:
        return
    request_id = await db.scalar(
        insert(SignupRequest)
        .values(**wanted.model_dump(), email_key=key_of(wanted.email))
        # One at a time.
        .on_conflict_do_nothing()
        .returning(SignupRequest.id)
    )
    if request_id:
        audit.record(db, Action.ACCESS_REQUESTED, request=str(request_id))
        await tell_operators(db, parts, wanted)


async def operators(db: AsyncSession, parts: Parts) -> Sequence[User]:
    """Give those who run this installation; a few, if there are many."""
    asked = (
        select(User)
        .join(Membership, Membership.user_id == User.id)
        .where(
            Membership.tenant_id == parts.settings.auth_operator_tenant_id,
            Membership.role.in_([Role.ADMIN, Role.OWNER]),
            User.status == Status.ACTIVE,
        )
        .order_by(Membership.created_at)
        .limit(MOST_OPERATORS)
    )
    return (await db.scalars(asked)).all()


async def tell_operators(db: AsyncSession, parts: Parts, wanted: schemas.AccessRequest) -> None:
    """Have a mail sent to those who decide."""
    tenant_id = parts.settings.auth_operator_tenant_id
    for user in await operators(db, parts):
        send(
            db,
            parts,
            MailKind.ACCESS_REQUESTED,
            Recipient.of(user),
            tenant_id=tenant_id,
            email=wanted.email,
            name=wanted.name,
            company=wanted.company,
        )


async def requests(
    db: AsyncSession, status: RequestStatus | None, limit: int, cursor: str | None
) -> tuple[list[schemas.SignupRequest], str | None]:
    """List requests, oldest first."""
    asked = select(SignupRequest)
    if status:
        asked = asked.where(SignupRequest.status == status)
    listed = pagination.page_of(asked, SignupRequest.created_at, SignupRequest.id, limit, cursor)
    rows = (await db.scalars(listed)).all()
    shown = [schemas.SignupRequest.model_validate(row) for row in rows[:limit]]
    return shown, pagination.after([(row.created_at, row.id) for row in rows], limit)


async def approve(
    db: AsyncSession, parts: Parts, caller: Principal, request_id: UUID
) -> schemas.SignupRequest:
    """Let somebody sign up with a tenant of their own, by an invite that goes to their address."""
    request = await decide(db, caller, request_id, SensitiveAction.APPROVE_SIGNUP)
    invite, token = invites.make(parts, request.email, parts.settings.auth_invite_ttl_hours)
    invite.invited_by = users.person(caller)
    db.add(invite)
    fresh = Fresh(token, invite.expires_at)
    send(db, parts, MailKind.ACCESS_APPROVED, recipient(request), fresh=fresh, company=request.company)
    audit.record(db, Action.ACCESS_APPROVED, actor=caller.subject, request=str(request_id))
    return schemas.SignupRequest.model_validate(request)


async def reject(
    db: AsyncSession, parts: Parts, caller: Principal, request_id: UUID, reason: str | None
) -> schemas.SignupRequest:
    """Turn somebody down, and tell them."""
    request = await decide(db, caller, request_id, SensitiveAction.REJECT_SIGNUP)
    to, company = recipient(request), request.company
    send(db, parts, MailKind.ACCESS_REJECTED, to, company=company, reason=reason or "")
    audit.record(db, Action.ACCESS_REJECTED, actor=caller.subject, request=str(request_id))
    return schemas.SignupRequest.model_validate(request)


async def decide(
    db: AsyncSession, caller: Principal, request_id: UUID, decision: SensitiveAction
) -> SignupRequest:
    """Decide on a request, once; raises SignupRequestUnknown, SignupRequestDecided or RoleTooLow."""
    await authorize(db, caller, decision)
    asked = select(SignupRequest).where(SignupRequest.id == request_id)
    request: SignupRequest | None = await db.scalar(asked.with_for_update())
    if request is None:
        raise SignupRequestUnknown
    if request.status is not RequestStatus.PENDING:
        raise SignupRequestDecided
    request.status, request.decided_at = OUTCOMES[decision], datetime.now(UTC)
    request.decided_by = users.person(caller)
    return request


def recipient(request: SignupRequest) -> Recipient:
    """Write to who asked."""
    return Recipient(f"mail:{request.email_key}", request.email, request.name)

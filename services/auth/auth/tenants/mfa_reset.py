"""Resets the lost second factors of a member (ASVS 6.4.4; docs/decisions/0013).

With them goes the password: whoever has that alone must not be the one who sets new factors up. The member
reads the letter, sets a new password with it, and comes in like somebody who has just signed up.
"""

from uuid import UUID

from servicekit.auth.permissions import Role
from servicekit.auth.tokens import Principal
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, emails, users
from auth.access.roles import require_role
from auth.access.sensitive_actions import SensitiveAction
from auth.account import passwords
from auth.audit import Action
from auth.events import EmailKind
from auth.mfa import enrolment
from auth.models import Membership, Purpose, Status, Tenant, TenantStatus, User
from auth.services import AuthServices
from auth.tenants.errors import MemberNotFound, MemberOfOtherTenants, OwnFactorResetNotAllowed
from auth.tenants.members import get_manageable_member


async def reset(db: AsyncSession, services: AuthServices, caller: Principal, user_id: UUID) -> None:
    """Remove a member's factors and password, end all sessions, and email a link to set a new password.

    Raises RateLimited, OwnFactorResetNotAllowed, MemberNotFound, RoleTooLow or MemberOfOtherTenants.
    """
    await services.rates.check_subject("factors/reset", str(user_id))
    if user_id == users.user_id_of(caller):
        raise OwnFactorResetNotAllowed
    tenant, user = await get_resettable_member(db, caller, user_id)
    removed = await enrolment.remove_all(db, user)
    await passwords.remove(db, services, user)
    issued = await services.email_tokens.issue(db, user, Purpose.PASSWORD_RESET)
    emails.request_tenant_email(db, services, EmailKind.SECOND_FACTORS_RESET, user, tenant, issued=issued)
    audit.record(
        db,
        Action.SECOND_FACTORS_RESET,
        tenant_id=tenant.id,
        actor=caller.subject,
        subject=user.subject,
        factors=removed,
    )


async def get_resettable_member(db: AsyncSession, caller: Principal, user_id: UUID) -> tuple[Tenant, User]:
    """Lock and return a member who belongs to the caller's tenant alone; only owners may reset admins.

    Raises MemberNotFound, RoleTooLow or MemberOfOtherTenants.
    """
    tenant, user, membership = await get_manageable_member(
        db, caller, user_id, SensitiveAction.RESET_SECOND_FACTORS
    )
    if membership.role >= Role.ADMIN:
        await require_role(db, caller, Role.OWNER)
    if user.status is not Status.ACTIVE:
        raise MemberNotFound
    if await is_member_elsewhere(db, tenant, user):
        raise MemberOfOtherTenants
    return tenant, user


async def is_member_elsewhere(db: AsyncSession, tenant: Tenant, user: User) -> bool:
    """Return whether a user belongs to another tenant that is not deleted."""
    others = (
        Membership.user_id == user.id,
        Membership.tenant_id != tenant.id,
        Tenant.status != TenantStatus.DELETED,
    )
    query = select(Membership.tenant_id).join(Tenant).where(*others).limit(1)
    return await db.scalar(query) is not None

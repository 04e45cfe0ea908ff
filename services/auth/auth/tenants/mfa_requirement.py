"""Requires a second factor of all members of a tenant.

Access tokens of before are good until they expire (ACCESS_TOKEN_EXPIRE_MINUTES). Sessions that were begun
with one factor end at their next refresh; the next sign-in leads to enrolment. API keys are not affected.
"""

from collections.abc import Sequence

from servicekit.auth.permissions import Role
from servicekit.auth.tokens import Principal
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, users
from auth.audit import Action
from auth.emails import request_tenant_email
from auth.events import EmailKind
from auth.factors import verification
from auth.models import Membership, Status, Tenant, User
from auth.services import AuthServices
from auth.tenants.errors import OwnSecondFactorMissing

ADMIN_ROLES = (Role.ADMIN, Role.OWNER)


async def change(
    db: AsyncSession, services: AuthServices, caller: Principal, tenant: Tenant, *, required: bool
) -> None:
    """Switch the requirement of a locked tenant on or off, and notify; raises OwnSecondFactorMissing."""
    if required and not await verification.has_any(db, users.user_id_of(caller)):
        raise OwnSecondFactorMissing
    tenant.mfa_required = required
    audit.record(db, Action.TENANT_MFA_CHANGED, tenant_id=tenant.id, actor=caller.subject, required=required)
    # Everybody has to act when it is switched on; the tenant is less protected when it is switched off.
    kind, roles = (EmailKind.MFA_REQUIRED, tuple(Role)) if required else (EmailKind.MFA_OPTIONAL, ADMIN_ROLES)
    for user in await members(db, tenant, roles):
        request_tenant_email(db, services, kind, user, tenant)


async def members(db: AsyncSession, tenant: Tenant, roles: Sequence[Role]) -> Sequence[User]:
    """Return the people of a tenant who have one of these roles and can sign in."""
    query = (
        select(User)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.tenant_id == tenant.id, Membership.role.in_(roles), User.status == Status.ACTIVE)
        .order_by(Membership.created_at, User.id)
    )
    return (await db.scalars(query)).all()

"""Requiring a second factor of everybody in a tenant.

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
from auth.emails import Recipient, send
from auth.events import MailKind
from auth.factors import verification
from auth.models import Membership, Status, Tenant, User
from auth.services import Parts
from auth.tenants.errors import OwnSecondFactorMissing

GOVERNING = (Role.ADMIN, Role.OWNER)


async def change(
    db: AsyncSession, parts: Parts, caller: Principal, tenant: Tenant, *, required: bool
) -> None:
    """Switch the requirement of a locked tenant on or off, and notify; raises OwnSecondFactorMissing."""
    if required and not await verification.has_any(db, users.person(caller)):
        raise OwnSecondFactorMissing
    tenant.mfa_required = required
    audit.record(db, Action.TENANT_MFA_CHANGED, tenant_id=tenant.id, actor=caller.subject, required=required)
    # Everybody has to act when it is switched on; the tenant is less protected when it is switched off.
    kind, roles = (MailKind.MFA_REQUIRED, tuple(Role)) if required else (MailKind.MFA_OPTIONAL, GOVERNING)
    for user in await members(db, tenant, roles):
        send(db, parts, kind, Recipient.of(user), tenant_id=tenant.id, tenant_name=tenant.name)


async def members(db: AsyncSession, tenant: Tenant, roles: Sequence[Role]) -> Sequence[User]:
    """Return the people of a tenant who have one of these roles and can sign in."""
    query = (
        select(User)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.tenant_id == tenant.id, Membership.role.in_(roles), User.status == Status.ACTIVE)
        .order_by(Membership.created_at, User.id)
    )
    return (await db.scalars(query)).all()

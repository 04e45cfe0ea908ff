"""The current membership of a person or machine, for services that act on their behalf."""

from uuid import UUID

from servicekit.auth.tokens import Principal
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth.models import Membership, Status, Tenant, TenantStatus, User
from auth.services import AuthServices
from auth.tenants import machine_roles, schemas
from auth.tenants.errors import MemberNotFound


async def get_membership(
    db: AsyncSession, services: AuthServices, caller: Principal, tenant_id: UUID, subject: str
) -> schemas.CurrentMembership:
    """Return a subject's membership in the tenant that the caller acts in; raises MemberNotFound."""
    if tenant_id != caller.tenant_id:
        raise MemberNotFound
    if schemas.SUBJECT.fullmatch(subject):
        return await user_membership(db, tenant_id, subject)
    return await machine_membership(db, services, tenant_id, subject)


async def user_membership(db: AsyncSession, tenant_id: UUID, subject: str) -> schemas.CurrentMembership:
    """Return a user's membership in a tenant that is not deleted; raises MemberNotFound."""
    own = (Membership.tenant_id == tenant_id, Membership.user_id == UUID(subject.removeprefix("user:")))
    membership = (
        select(Membership.role, Tenant.status, User.status)
        .join(Tenant, Tenant.id == Membership.tenant_id)
        .join(User, User.id == Membership.user_id)
    )
    row = (await db.execute(membership.where(*own, Tenant.status != TenantStatus.DELETED))).one_or_none()
    if row is None:
        raise MemberNotFound
    role, tenant_status, user_status = row
    return schemas.CurrentMembership(
        subject=subject,
        tenant_id=tenant_id,
        role=role,
        tenant_status=tenant_status,
        user_status=Status.DISABLED if user_status is Status.CLOSING else user_status,
    )


async def machine_membership(
    db: AsyncSession, services: AuthServices, tenant_id: UUID, subject: str
) -> schemas.CurrentMembership:
    """Return a valid machine's membership in a tenant that is not deleted; raises MemberNotFound."""
    query = select(Tenant.status).where(Tenant.id == tenant_id, Tenant.status != TenantStatus.DELETED)
    status = await db.scalar(query)
    role = await machine_roles.get_machine_role(db, services, tenant_id, subject)
    if status is None or role is None:
        raise MemberNotFound
    return schemas.CurrentMembership(
        subject=subject, tenant_id=tenant_id, role=role, tenant_status=status, user_status=Status.ACTIVE
    )

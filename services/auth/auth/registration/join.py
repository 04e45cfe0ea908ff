"""The tenant of a new account: one of its own, or the one of the invite."""

from datetime import UTC, datetime

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from auth import users
from auth.email_address import canonical_email
from auth.models import Invite, Status, Tenant, User
from auth.registration.errors import TenantNameMissing
from auth.schemas import Registration
from auth.services import AuthServices
from auth.tenants import invites


async def resolve_tenant_name(services: AuthServices, request: Registration) -> str:
    """Return the name of the tenant that the user will join or own.

    Raises InvalidInvite, or TenantNameMissing for an invite without a tenant.
    """
    if request.invite is None:
        return request.tenant_name or ""
    async with services.database.begin() as db:
        invite = await invites.get_valid(
            db, services, request.invite.get_secret_value(), canonical_email(request.email)
        )
        return await name_of(db, request, invite)


async def name_of(db: AsyncSession, request: Registration, invite: Invite) -> str:
    """Return the name of an invite's tenant, or else the requested one; raises TenantNameMissing."""
    if invite.tenant_id:
        return (await db.get_one(Tenant, invite.tenant_id)).name
    if request.tenant_name is None:
        raise TenantNameMissing
    return request.tenant_name


async def join_or_create(
    db: AsyncSession, services: AuthServices, request: Registration, user: User
) -> Tenant | None:
    """Add a new account to its tenant; return the tenant while the email must still be verified.

    An invite that was mailed to the address has confirmed it. Raises InvalidInvite.
    """
    if request.invite is None:
        return await users.add_owned(db, user.id, request.tenant_name or "")
    invite = await invites.redeem(db, services, request.invite.get_secret_value(), user.email_key)
    if invite.tenant_id:
        invites.join(db, invite, user)
        tenant = await db.get_one(Tenant, invite.tenant_id)
    else:
        tenant = await users.add_owned(db, user.id, await name_of(db, request, invite))
    if invite.email_key is None:
        return tenant
    confirmed = {"status": Status.ACTIVE, "email_verified_at": datetime.now(UTC)}
    await db.execute(update(User).where(User.id == user.id).values(**confirmed))
    await users.delete_unverified(db, user.email_key)
    return None

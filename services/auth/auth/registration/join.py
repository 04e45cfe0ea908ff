"""Where somebody who signs up belongs: in a tenant of their own, or in the one that invited them."""

from datetime import UTC, datetime

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from auth import users
from auth.email_address import key_of
from auth.models import Invite, Status, Tenant, User
from auth.registration.errors import TenantNameMissing
from auth.schemas import Registration
from auth.services import Parts
from auth.tenants import invites


async def look(parts: Parts, wanted: Registration) -> str:
    """Tell the name of the tenant that it will be, before anything else is looked at.

    Raises InvitationInvalid, or TenantNameMissing for an invite that leads into none.
    """
    if wanted.invite is None:
        return wanted.tenant_name or ""
    async with parts.database.begin() as db:
        invite = await invites.valid(db, parts, wanted.invite.get_secret_value(), key_of(wanted.email))
        return await name_of(db, wanted, invite)


async def name_of(db: AsyncSession, wanted: Registration, invite: Invite) -> str:
    """Tell the name of the tenant of an invite, or the wanted one; raises TenantNameMissing."""
    if invite.tenant_id:
        return (await db.get_one(Tenant, invite.tenant_id)).name
    if wanted.tenant_name is None:
        raise TenantNameMissing
    return wanted.tenant_name


async def settle_in(db: AsyncSession, parts: Parts, wanted: Registration, user: User) -> Tenant | None:
    """Give a new account its tenant; gives it back while the address has still to be confirmed.

    An invite that was mailed to the address has confirmed it. Raises InvitationInvalid.
    """
    if wanted.invite is None:
        return await users.add_owned(db, user.id, wanted.tenant_name or "")
    invite = await invites.redeem(db, parts, wanted.invite.get_secret_value(), user.email_key)
    if invite.tenant_id:
        invites.join(db, invite, user)
        tenant = await db.get_one(Tenant, invite.tenant_id)
    else:
        tenant = await users.add_owned(db, user.id, await name_of(db, wanted, invite))
    if invite.email_key is None:
        return tenant
    now = datetime.now(UTC)
    confirmed = {"status": Status.ACTIVE, "email_verified_at": now}
    await db.execute(update(User).where(User.id == user.id).values(**confirmed))
    await users.discard_pending(db, user.email_key)
    return None

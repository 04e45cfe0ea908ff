"""The current role of a machine in a tenant: an API key, or a credential of a service account."""

import re
from uuid import UUID

from servicekit.auth.permissions import Role
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth.access.roles import get_role
from auth.api_keys import entitlement, keys
from auth.models import ApiKey, ServiceCredential, Tenant, TenantStatus
from auth.service_accounts import credentials
from auth.services import AuthServices

SUBJECT = re.compile(r"service:(ak|sa\.[a-z][a-z0-9-]{1,47})\.([0-9a-f]{32})")


async def get_machine_role(
    db: AsyncSession, services: AuthServices, tenant_id: UUID, subject: str
) -> Role | None:
    """Return the role that a machine has in a tenant; None if it has none, or is not valid any more."""
    match = SUBJECT.fullmatch(subject)
    if match is None:
        return None
    if match[1] == "ak":
        return await api_key_role(db, tenant_id, UUID(match[2]))
    return await service_account_role(db, services, tenant_id, subject)


async def api_key_role(db: AsyncSession, tenant_id: UUID, key_id: UUID) -> Role | None:
    """Return the role that one of an API key's secrets acts in."""
    query = select(ApiKey).where(ApiKey.id == key_id, ApiKey.tenant_id == tenant_id, *keys.WORKING)
    key = await db.scalar(query)
    if key is None:
        return None
    if granted := await entitlement.of_any_secret(db, key):
        return granted.role
    # A suspended tenant gives no rights. Its machines keep a role, so that the service hears why they stop.
    suspended = select(Tenant.id).where(Tenant.id == tenant_id, Tenant.status == TenantStatus.SUSPENDED)
    return await get_role(db, tenant_id, key.created_by) if await db.scalar(suspended) else None


async def service_account_role(
    db: AsyncSession, services: AuthServices, tenant_id: UUID, subject: str
) -> Role | None:
    """Return the role of a service account of this tenant, or of all tenants, as the catalogue has it."""
    table, credential_id = ServiceCredential, UUID(hex=subject.rpartition(".")[2])
    own = or_(table.tenant_id == tenant_id, table.tenant_id.is_(None))
    row: ServiceCredential | None = await db.scalar(
        select(table).where(table.id == credential_id, own, *credentials.WORKING)
    )
    account = services.catalogue.accounts.get(row.account) if row else None
    if row is None or account is None or not account.is_for(row.tenant_id):
        return None
    return account.role if subject == f"service:{row.client_id}" else None

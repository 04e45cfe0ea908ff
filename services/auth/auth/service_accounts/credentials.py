"""Lists and revokes the credentials of a tenant's service accounts, for its admins.

Those of all tenants are not listed; remove their account from the catalogue to end them.
"""

from datetime import UTC, datetime
from uuid import UUID

from servicekit.auth.tokens import Principal
from servicekit.pagination import next_cursor, paginate
from servicekit.schemas import Page
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit
from auth.access.roles import authorize
from auth.access.sensitive_actions import SensitiveAction
from auth.audit import Action
from auth.emails import notify_owners
from auth.events import EmailKind
from auth.models import ServiceCredential, Tenant
from auth.security import revocation
from auth.security.revocation import RevocationKind
from auth.service_accounts import schemas
from auth.service_accounts.errors import ServiceCredentialNotFound
from auth.service_accounts.issuance import KIND, to_schema

WORKING = (ServiceCredential.revoked_at.is_(None), ServiceCredential.expires_at > func.now())


async def list_credentials(
    db: AsyncSession, caller: Principal, limit: int, cursor: str | None
) -> Page[schemas.ServiceCredential]:
    """List the tenant's credentials, newest first; raises InvalidCursor."""
    table = ServiceCredential
    query = select(table).where(table.tenant_id == caller.tenant_id)
    page = paginate(query, table.created_at, table.id, limit, cursor, newest_first=True)
    rows = (await db.scalars(page)).all()
    following = next_cursor(rows, limit, "created_at", "id")
    return Page(items=[to_schema(row) for row in rows[:limit]], next_cursor=following)


async def revoke(db: AsyncSession, caller: Principal, credential_id: UUID) -> None:
    """End a credential, and its access tokens within seconds.

    Raises SessionEnded, RoleTooLow or ServiceCredentialNotFound.
    """
    tenant, _ = await authorize(db, caller, SensitiveAction.REVOKE_SERVICE_CREDENTIAL)
    row = await end(db, tenant, credential_id)
    await revocation.revoke(db, RevocationKind.CLIENT, row.client_id)
    await notify_owners(db, EmailKind.SERVICE_CREDENTIAL_REVOKED, tenant, account=row.account)
    audit.record(
        db,
        Action.TOKEN_REVOKED,
        tenant_id=row.tenant_id,
        actor=caller.subject,
        subject=f"service:{row.client_id}",
        kind=KIND,
    )


async def end(db: AsyncSession, tenant: Tenant, credential_id: UUID) -> ServiceCredential:
    """End a tenant's working credential; raises ServiceCredentialNotFound."""
    own = (ServiceCredential.id == credential_id, ServiceCredential.tenant_id == tenant.id)
    row: ServiceCredential | None = await db.scalar(
        update(ServiceCredential)
        .where(*own, *WORKING)
        .values(revoked_at=datetime.now(UTC))
        .returning(ServiceCredential)
        .execution_options(synchronize_session=False)
    )
    if row is None:
        raise ServiceCredentialNotFound
    return row

"""The credentials of a tenant's service accounts: listed and revoked by the tenant's own admins alone.

Those of all tenants are nobody's to see here; taking their account out of the catalogue ends them.
"""

from datetime import UTC, datetime
from uuid import UUID

from servicekit.auth.tokens import Principal
from servicekit.schemas import Page
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit
from auth.access.roles import authorize
from auth.access.sensitive_actions import SensitiveAction
from auth.audit import Action
from auth.emails import notify_owners
from auth.events import MailKind
from auth.models import ServiceCredential
from auth.pagination import after, page_of
from auth.security import revocation
from auth.security.revocation import Kind
from auth.service_accounts import schemas
from auth.service_accounts.errors import ServiceCredentialUnknown
from auth.service_accounts.issuance import KIND, shown

WORKING = (ServiceCredential.revoked_at.is_(None), ServiceCredential.expires_at > func.now())


async def page(
    db: AsyncSession, caller: Principal, limit: int, cursor: str | None
) -> Page[schemas.ServiceCredential]:
    """List the tenant's credentials, newest first; raises BadCursor."""
    table = ServiceCredential
    asked = select(table).where(table.tenant_id == caller.tenant_id)
    listed = page_of(asked, table.created_at, table.id, limit, cursor, newest_first=True)
    rows = (await db.scalars(listed)).all()
    following = after([(row.created_at, row.id) for row in rows], limit)
    return Page(items=[shown(row) for row in rows[:limit]], next_cursor=following)


async def revoke(db: AsyncSession, caller: Principal, credential_id: UUID) -> None:
    """End a credential, and its access tokens within seconds.

    Raises SessionEnded, RoleTooLow or ServiceCredentialUnknown.
    """
    tenant, _ = await authorize(db, caller, SensitiveAction.REVOKE_SERVICE_CREDENTIAL)
    row: ServiceCredential | None = await db.scalar(
        update(ServiceCredential)
        .where(
            ServiceCredential.id == credential_id, ServiceCredential.tenant_id == caller.tenant_id, *WORKING
        )
        .values(revoked_at=datetime.now(UTC))
        .returning(ServiceCredential)
        .execution_options(synchronize_session=False)
    )
    if row is None:
        raise ServiceCredentialUnknown
    await revocation.revoke(db, Kind.CLIENT, row.client_id)
    await notify_owners(db, MailKind.SERVICE_CREDENTIAL_REVOKED, tenant, account=row.account)
    audit.record(
        db,
        Action.TOKEN_REVOKED,
        tenant_id=row.tenant_id,
        actor=caller.subject,
        subject=f"service:{row.client_id}",
        kind=KIND,
    )

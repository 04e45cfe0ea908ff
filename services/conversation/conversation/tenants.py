"""What auth tells of tenants: what a deleted one has said goes when its time is over."""

from collections.abc import Sequence
from uuid import UUID

from pydantic import AwareDatetime, BaseModel
from servicekit.events import Received
from servicekit.housekeeping import Rule
from servicekit.streams import Handler
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from conversation.models import Base, Conversation, Tenant

# Of a tenant that went with its last person: nothing is newer.
LAST_VERSION = 2**31 - 1


class TenantChanged(BaseModel):
    """`auth.tenant.deleted.v1`, `.suspended.v1`, `.reactivated.v1`; only the first says `purge_after`."""

    tenant_id: UUID
    version: int
    purge_after: AwareDatetime | None = None


async def note(session: AsyncSession, received: Received) -> None:
    """Write down what has become of a tenant; what is older than what is known changes nothing."""
    event = TenantChanged.model_validate(received.data)
    row = insert(Tenant).values(id=event.tenant_id, version=event.version, purge_after=event.purge_after)
    newest = {"version": row.excluded.version, "purge_after": row.excluded.purge_after}
    await session.execute(
        row.on_conflict_do_update(
            index_elements=[Tenant.id], set_=newest, where=Tenant.version < row.excluded.version
        )
    )


async def close(session: AsyncSession, tenant_ids: Sequence[UUID]) -> None:
    """Write down that tenants are gone, and for ever."""
    gone = {"version": LAST_VERSION, "purge_after": func.now()}
    for tenant_id in tenant_ids:
        row = insert(Tenant).values(id=tenant_id, **gone)
        await session.execute(row.on_conflict_do_update(index_elements=[Tenant.id], set_=gone))


def of_deleted_tenants() -> Rule:
    """Say which conversations are kept no longer."""
    over = select(Tenant.id).where(Tenant.purge_after < func.now())
    return Base.metadata.tables["conversations"], Conversation.tenant_id.in_(over)


HANDLERS: dict[str, Handler] = {
    "auth.tenant.deleted.v1": note,
    "auth.tenant.suspended.v1": note,
    "auth.tenant.reactivated.v1": note,
}

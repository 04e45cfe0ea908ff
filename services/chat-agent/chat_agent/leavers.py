"""What auth tells of people and tenants: who has left for good, and which tenants are no more.

Their runs stop with the event. What is kept of them goes soon after (`forgetting`), of a tenant when its time
is over. Ids of people are not used again, so what comes late of theirs is known to be nobody's.
"""

from collections.abc import Sequence
from uuid import UUID

from pydantic import AwareDatetime, BaseModel
from servicekit.events import Received
from servicekit.streams import Handler
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent import runs
from chat_agent.models import QUEUED, RUNNING, WAITING, Leaver, Run, Tenant

# Of a tenant that went with its last person: nothing is newer.
LAST_VERSION = 2**31 - 1


class UserDeleted(BaseModel):
    """`auth.user.deleted.v1`: somebody has left for good, and tenants that nobody else was in with them."""

    user_id: str
    tenant_ids: list[UUID]


class TenantChanged(BaseModel):
    """`auth.tenant.deleted.v1`, `.suspended.v1`, `.reactivated.v1`; only the first says `purge_after`."""

    tenant_id: UUID
    version: int
    purge_after: AwareDatetime | None = None


async def forget_person(session: AsyncSession, received: Received) -> None:
    """Write down that somebody has left, and stop what runs for them."""
    event = UserDeleted.model_validate(received.data)
    await session.execute(insert(Leaver).values(user_id=event.user_id).on_conflict_do_nothing())
    await stop_all(session, Run.user_id == event.user_id)
    gone = {"version": LAST_VERSION, "purge_after": func.now()}
    for tenant_id in event.tenant_ids:
        row = insert(Tenant).values(id=tenant_id, **gone)
        await session.execute(row.on_conflict_do_update(index_elements=[Tenant.id], set_=gone))
        await stop_all(session, Run.tenant_id == tenant_id)


async def note_tenant(session: AsyncSession, received: Received) -> None:
    """Write down what has become of a tenant, unless newer is known, and stop what runs in a deleted one."""
    event = TenantChanged.model_validate(received.data)
    row = insert(Tenant).values(id=event.tenant_id, version=event.version, purge_after=event.purge_after)
    newest = {"version": row.excluded.version, "purge_after": row.excluded.purge_after}
    noted = await session.scalar(
        row.on_conflict_do_update(
            index_elements=[Tenant.id], set_=newest, where=Tenant.version < row.excluded.version
        ).returning(Tenant.id)
    )
    if noted and event.purge_after is not None:
        await stop_all(session, Run.tenant_id == event.tenant_id)


async def stop_all(session: AsyncSession, whose: ColumnElement[bool]) -> Sequence[Run]:
    """Stop what runs, waits or is next; who works on it hears of it from the row."""
    open_ones = select(Run).where(whose, Run.status.in_((QUEUED, RUNNING, WAITING)), Run.stop.is_(None))
    found = (await session.scalars(open_ones.order_by(Run.id).with_for_update())).all()
    for run in found:
        await runs.stop(session, run, "cancel")
    return found


HANDLERS: dict[str, Handler] = {
    "auth.user.deleted.v1": forget_person,
    "auth.tenant.deleted.v1": note_tenant,
    "auth.tenant.suspended.v1": note_tenant,
    "auth.tenant.reactivated.v1": note_tenant,
}

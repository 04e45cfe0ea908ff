"""Publishes what happened to a tenant's billing: to its stream, and to other services."""

from uuid import UUID

from servicekit.database import wake_on_commit
from servicekit.events import outbox
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.events import TenantEvent
from billing_webhook.models import BillingEvent, BillingEventCounter

# What wakes the announcer of the process that has committed events.
NEW_EVENTS = "billing_events"


async def publish(db: AsyncSession, event: TenantEvent, *, tenant_id: UUID) -> int:
    """Publish an event if, and only if, the transaction commits; return its number in the tenant's sequence.

    Locks the tenant's counter until the transaction ends, so publish last, and nothing slow after it.
    """
    seq = await next_seq(db, tenant_id)
    event_id = outbox.publish(db, event, tenant_id=tenant_id, subject=f"tenant:{tenant_id}")
    wake_on_commit(db, NEW_EVENTS)
    db.add(
        BillingEvent(
            id=event_id, tenant_id=tenant_id, seq=seq, type=event.type, data=event.model_dump(mode="json")
        )
    )
    return seq


async def next_seq(db: AsyncSession, tenant_id: UUID) -> int:
    """Reserve the next number of a tenant's sequence."""
    first = insert(BillingEventCounter).values(tenant_id=tenant_id, last_seq=1)
    taken = first.on_conflict_do_update(
        index_elements=[BillingEventCounter.tenant_id],
        set_={"last_seq": BillingEventCounter.last_seq + 1},
    )
    return (await db.execute(taken.returning(BillingEventCounter.last_seq))).scalar_one()

"""What a handler gets, and what it has applied of an object before."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import stripe
from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.models import StripeObject
from billing_webhook.stripe_events.envelope import Envelope


@dataclass(frozen=True)
class Handling:
    """An event at a handler: whose it is, and the object as Stripe had it at `fetched_at`."""

    handler: str
    event: Envelope
    # None where the handler's events are of no tenant.
    tenant_id: UUID | None
    # None if Stripe does not have it any more.
    fetched: stripe.StripeObject | None
    fetched_at: datetime
    price_map: Mapping[str, str]

    @property
    def tenant(self) -> UUID:
        """Return whose the event is."""
        assert self.tenant_id is not None  # noqa: S101  # the handler has asked for it
        return self.tenant_id


async def is_outdated(db: AsyncSession, handler: str, event: Envelope) -> bool:
    """Return whether something newer was applied of the event's object."""
    applied = await db.get(StripeObject, (handler, event.subject.id or event.id))
    return applied is not None and event.created < applied.event_created


async def record_applied(db: AsyncSession, handler: str, event: Envelope) -> None:
    """Store up to which event an object was applied."""
    row = {"handler": handler, "object_id": event.subject.id or event.id, "event_created": event.created}
    new = insert(StripeObject).values(row)
    newest = func.greatest(StripeObject.event_created, new.excluded.event_created)
    await db.execute(
        new.on_conflict_do_update(index_elements=["handler", "object_id"], set_={"event_created": newest})
    )


async def change_state(db: AsyncSession, handling: Handling, state: str, object_id: str = "") -> bool:
    """Store the state of an object, and return whether it was another one before."""
    row = {
        "handler": handling.handler,
        "object_id": object_id or handling.event.subject.id or handling.event.id,
        "event_created": handling.event.created,
        "state": state,
    }
    new = insert(StripeObject).values(row)
    changed = new.on_conflict_do_update(
        index_elements=["handler", "object_id"],
        set_={"state": state},
        where=StripeObject.state.is_distinct_from(state),
    )
    return await db.scalar(changed.returning(StripeObject.object_id)) is not None

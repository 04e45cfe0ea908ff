"""Settles meter events that need an operator: Stripe rejected them, or it is unclear if it counts them."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from servicekit.database import Database
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from stripe import StripeClient

from billing_webhook import audit
from billing_webhook.audit import OPERATOR, AuditAction
from billing_webhook.entitlements.counters import TENANT_SCOPE, ZERO
from billing_webhook.errors import MeterEventNotFound, MeterEventOutcomeUnknown, MeterEventSettled
from billing_webhook.models import Customer, MeterEvent, UsageTotal
from billing_webhook.quantities import to_text
from billing_webhook.usage import meter_events
from billing_webhook.usage.meter_event_worker import counted_in_period

logger = logging.getLogger(__name__)

REJECTED, UNCLEAR = "rejected", "unclear"


class Outcome(StrEnum):
    """What becomes of a meter event."""

    # Stripe counts it.
    COUNTED = "counted"
    # Stripe does not, so its value is part of the counter's next event.
    RESENT = "resent"


async def list_open(db: AsyncSession, tenant_id: UUID | None, limit: int) -> Sequence[MeterEvent]:
    """List the meter events that need an operator, the oldest first."""
    query = select(MeterEvent).where(MeterEvent.state.in_((REJECTED, UNCLEAR)))
    if tenant_id is not None:
        query = query.where(MeterEvent.tenant_id == tenant_id)
    return (await db.scalars(query.order_by(MeterEvent.timestamp).limit(limit))).all()


async def settle(
    database: Database, identifier: str, outcome: Outcome, *, operator: str, reason: str
) -> None:
    """Store what becomes of a meter event; raises MeterEventNotFound or MeterEventSettled."""
    async with database.begin() as db:
        event = await find(db, identifier)
        own = {name: getattr(event, name) for name in ("tenant_id", "feature_key", "period_start")}
        total = await db.get_one(UsageTotal, {**own, "scope": TENANT_SCOPE}, with_for_update=True)
        # The counter is locked first, as where events are created; another operator may have been faster.
        await db.refresh(event, with_for_update=True)
        require_open(event)
        apply(event, total, outcome)
        described = {"meter_event": identifier, "outcome": outcome.value, "value": to_text(event.value)}
        audit.record(db, OPERATOR, AuditAction.METER_EVENT_SETTLED, tenant_id=event.tenant_id, **described)
    logger.info("meter event settled", extra={**described, "operator": operator, "reason": reason})


def apply(event: MeterEvent, total: UsageTotal, outcome: Outcome) -> None:
    """Store what has become of an event."""
    now = datetime.now(UTC)
    event.error, event.cancelable_until = None, None
    if outcome is Outcome.COUNTED:
        event.state, event.sent_at = "sent", event.sent_at or now
        return
    event.state = "canceled"
    total.sent -= event.value
    total.unsent_since = now


async def find(db: AsyncSession, identifier: str) -> MeterEvent:
    """Return a meter event that needs an operator; raises MeterEventNotFound or MeterEventSettled."""
    event = await db.get(MeterEvent, identifier)
    if event is None:
        raise MeterEventNotFound
    require_open(event)
    return event


def require_open(event: MeterEvent) -> None:
    """Verify that an event needs an operator; raises MeterEventSettled."""
    if event.state not in {REJECTED, UNCLEAR}:
        raise MeterEventSettled(f"The meter event is {event.state}; there is nothing to settle.")


async def find_outcome(database: Database, client: StripeClient, identifier: str) -> Outcome:
    """Find out by Stripe's sum whether it counts an event.

    Raises MeterEventNotFound, MeterEventSettled or MeterEventOutcomeUnknown.
    """
    async with database.begin() as db:
        event = await find(db, identifier)
        own = {name: getattr(event, name) for name in ("tenant_id", "feature_key", "period_start")}
        sums = await meter_events.sums_by_state(db, own)
        customer = await db.scalar(
            select(Customer.stripe_customer_id).where(
                Customer.tenant_id == event.tenant_id, Customer.deleted_at.is_(None)
            )
        )
    counted = await counted_in_period(database, client, event, customer) if customer else None
    sent = sums.get("sent", ZERO)
    sums[event.state] -= event.value
    # What else is under way may be counted or not.
    is_known = not any(sums.get(state) for state in (UNCLEAR, *meter_events.OPEN))
    if is_known and counted == sent + event.value:
        return Outcome.COUNTED
    if is_known and counted == sent:
        return Outcome.RESENT
    raise MeterEventOutcomeUnknown(
        f"Stripe has counted {'an unknown sum' if counted is None else to_text(counted)}, and "
        f"{to_text(sent)} was sent without this event of {to_text(event.value)}. Look at the meter in "
        "Stripe's dashboard, and repeat the command with --outcome."
    )

"""Stores events of Stripe, with a dispatch for each of their handlers, before they are acknowledged."""

import logging
from uuid import uuid4

import stripe
from pydantic import JsonValue
from servicekit import context
from servicekit.database import wake_on_commit
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.models import StripeDispatch, StripeEvent
from billing_webhook.settings import Settings
from billing_webhook.stripe_events import metrics
from billing_webhook.stripe_events.envelope import Envelope
from billing_webhook.stripe_events.handlers import handlers_of
from billing_webhook.stripe_events.verify import VerifiedEvent

logger = logging.getLogger(__name__)

RECEIVED = "received"
# What the worker of this process is woken by.
DISPATCHES = StripeDispatch.__tablename__


async def receive(db: AsyncSession, verified: VerifiedEvent, settings: Settings) -> bool:
    """Store a verified event, and return whether it is new."""
    event = verified.envelope
    headers: dict[str, JsonValue] = {
        "t": verified.signed_at,
        "v1": [*verified.signatures],
        "request_id": context.request_id(),
    }
    is_new = await store(db, event, verified.body, settings, headers)
    metrics.RECEIVED.inc()
    if not is_new:
        metrics.DUPLICATE.inc()
    logger.info("stripe event", extra={"event_id": event.id, "type": event.type, "duplicate": not is_new})
    return is_new


async def store(
    db: AsyncSession, event: Envelope, payload: bytes, settings: Settings, headers: dict[str, JsonValue]
) -> bool:
    """Store an event and its dispatches, and return whether it is new."""
    status = status_of(event, settings)
    row = event.model_dump(include={"id", "type", "api_version", "livemode", "created"})
    row |= {"account": event.account or event.context, "stripe_customer_id": event.customer}
    row |= {"payload": payload, "headers": headers}
    # An event that is ignored must not take the place of a twin that is processed.
    dedupe_key = event.snapshot_event or event.id if status == RECEIVED else event.id
    new = insert(StripeEvent).values(**row, status=status, dedupe_key=dedupe_key).on_conflict_do_nothing()
    if await db.scalar(new.returning(StripeEvent.id)) is None:
        return False
    observe(event, status)
    if status == RECEIVED:
        await dispatch(db, event)
    return True


def status_of(event: Envelope, settings: Settings) -> str:
    """Return whether an event is processed, or why not."""
    account = event.account or event.context
    if event.livemode != settings.livemode:
        return "ignored_livemode"
    if account is not None and account not in settings.stripe_accounts:
        return "ignored_account"
    return RECEIVED if handlers_of(event.type) else "ignored_type"


def observe(event: Envelope, status: str) -> None:
    """Count what an operator may have to look at."""
    if status != RECEIVED:
        metrics.IGNORED.labels(status.removeprefix("ignored_")).inc()
    if event.api_version not in {None, stripe.api_version}:
        metrics.VERSION_MISMATCH.inc()


async def dispatch(db: AsyncSession, event: Envelope) -> None:
    """Store a dispatch for each handler that has none, and wake the worker when the transaction commits."""
    common = {
        "event_id": event.id,
        "event_created": event.created,
        "ordering_key": event.customer or event.subject.id or event.id,
    }
    rows = [{**common, "id": uuid4(), "handler": handler} for handler in handlers_of(event.type)]
    await db.execute(insert(StripeDispatch).values(rows).on_conflict_do_nothing())
    wake_on_commit(db, DISPATCHES)

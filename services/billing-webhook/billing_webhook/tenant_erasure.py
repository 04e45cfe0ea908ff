"""What is erased of a purged tenant: everything that is personal, or that the tenant has written itself.

What was billed stays: quantities, amounts, and the ids that they belong to.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from servicekit import erasure, erasure_worker
from servicekit.database import Database
from servicekit.erasure import ANONYMOUS_SUBJECT, tenants
from sqlalchemy import ColumnElement, case, delete, exists, func, inspect, or_, select, true, tuple_, update
from sqlalchemy.orm import InstrumentedAttribute

from billing_webhook.models import (
    Base,
    BillingEvent,
    Budget,
    Command,
    Customer,
    EntitlementGrant,
    Invoice,
    Reservation,
    StripeDispatch,
    StripeEvent,
    UsageEntry,
    UsageRecord,
)

# Whether a tenant's id is one of those that are meant.
Selection = Callable[[InstrumentedAttribute[Any]], ColumnElement[bool]]
ERASED_KEY = func.concat("erased:", UsageRecord.id)
# What a dispatch that is not finished needs stays until it is.
UNFINISHED = ("pending", "running", "failed")


@dataclass(frozen=True)
class Rule:
    """Which rows of a table have something to erase, and what replaces it; None deletes them."""

    table: type[Base]
    has_details: ColumnElement[bool]
    values: Mapping[Any, Any] | None = None

    def rows(self, is_meant: Selection) -> ColumnElement[bool]:
        """Return the condition for the rows of some tenants."""
        if self.table is StripeEvent:
            return is_event_of(is_meant) & self.has_details
        return is_meant(getattr(self.table, "tenant_id")) & self.has_details  # noqa: B009  # every other has it


def is_event_of(is_meant: Selection) -> ColumnElement[bool]:
    """Return the condition for the events of Stripe about some tenants."""
    customers = select(Customer.stripe_customer_id).where(is_meant(Customer.tenant_id))
    dispatched = select(StripeDispatch.event_id).where(is_meant(StripeDispatch.tenant_id))
    return StripeEvent.stripe_customer_id.in_(customers) | StripeEvent.id.in_(dispatched)


IS_UNFINISHED = exists().where(
    StripeDispatch.event_id == StripeEvent.id, StripeDispatch.status.in_(UNFINISHED)
)
EVENTS = Rule(StripeEvent, StripeEvent.payload.is_not(None) & ~IS_UNFINISHED, {"payload": None})
RULES = (
    Rule(UsageEntry, UsageEntry.user_id != ANONYMOUS_SUBJECT, {"user_id": ANONYMOUS_SUBJECT}),
    Rule(
        UsageRecord,
        UsageRecord.idempotency_key != ERASED_KEY,
        {
            "user_id": case((UsageRecord.user_id.is_not(None), ANONYMOUS_SUBJECT)),
            "idempotency_key": ERASED_KEY,
            "dimensions": {},
            "api_key_id": None,
        },
    ),
    Rule(
        Reservation,
        (Reservation.user_id != ANONYMOUS_SUBJECT) | Reservation.api_key_id.is_not(None),
        {"user_id": ANONYMOUS_SUBJECT, "api_key_id": None},
    ),
    Rule(BillingEvent, true()),
    Rule(Budget, true()),
    Rule(EntitlementGrant, true()),
    Rule(
        Command,
        (Command.actor != ANONYMOUS_SUBJECT) | Command.idempotency_key.is_not(None),
        {
            "actor": ANONYMOUS_SUBJECT,
            "session_id": None,
            "request_id": None,
            "idempotency_key": None,
            "arguments": Command.arguments.op("-")("billing_email"),
            # The address of a page of Stripe.
            "facts": Command.facts.op("-")("url"),
            "error": None,
        },
    ),
    Rule(Customer, Customer.billing_email.is_not(None), {"billing_email": None}),
    Rule(
        Invoice,
        Invoice.hosted_invoice_url.is_not(None) | Invoice.invoice_pdf.is_not(None),
        {"hosted_invoice_url": None, "invoice_pdf": None},
    ),
    EVENTS,
    Rule(
        StripeDispatch,
        StripeDispatch.last_error.is_not(None) & StripeDispatch.status.not_in(UNFINISHED),
        {"last_error": None},
    ),
)
TENANT_HAS_ROWS = or_(*(exists().where(rule.rows(lambda column: column == tenants.c.id)) for rule in RULES))


async def erase_tenants(database: Database, ids: Sequence[UUID]) -> int:
    """Erase a batch of each table's rows of these tenants, and return the size of the largest."""
    return max([await apply(database, rule, rule.rows(lambda column: column.in_(ids))) for rule in RULES])


async def apply(database: Database, rule: Rule, condition: ColumnElement[bool]) -> int:
    """Erase a batch of rows, and return their number."""
    key = inspect(rule.table).primary_key
    some = select(*key).where(condition).limit(erasure_worker.BATCH_SIZE).with_for_update(skip_locked=True)
    changed = delete(rule.table) if rule.values is None else update(rule.table).values(rule.values)
    async with database.begin() as db:
        rows = [tuple(row) for row in await db.execute(some)]
        if rows:
            theirs = changed.where(tuple_(*key).in_(rows))
            await db.execute(theirs.execution_options(synchronize_session=False))
    return len(rows)


async def redact_events(database: Database) -> int:
    """Erase a batch of what events contain that came after their tenant was erased; return their number."""
    purged = EVENTS.rows(lambda column: column.in_(erasure.purgeable_tenants()))
    return await apply(database, EVENTS, purged)

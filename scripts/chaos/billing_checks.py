"""What is lost, doubled or out of order when everything was sent: all numbers should be 0."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from servicekit.database import Database
from sqlalchemy import text
from starter_cli import environment
from starter_cli.stack import Stack

SERVICE = "billing-webhook"
DRAIN_SECONDS = 300.0
OPEN = "select count(*) from stripe_dispatches where status <> 'completed'"
CHECKS = {
    "dispatches not completed": OPEN,
    "events without their dispatch": (
        "select count(*) from stripe_events e where status = 'received'"
        " and not exists (select from stripe_dispatches d where d.event_id = e.id)"
    ),
    "changes published twice": (
        "select count(*) - count(distinct (data->>'subscription_id', data->>'version'))"
        " from billing_events where type = 'billing.subscription.changed.v1'"
    ),
    "invoices published twice": (
        "select count(*) - count(distinct data->>'invoice_id')"
        " from billing_events where type = 'billing.invoice.paid.v1'"
    ),
    "holes in the sequences of tenants": (
        "select coalesce(sum(last - number), 0) from (select max(seq) as last, count(*) as number"
        " from billing_events group by tenant_id) as sequences"
    ),
    "events not published": "select count(*) from outbox where published_at is null",
}
STORED = "select id from stripe_events"
RECORDS = "select idempotency_key, quantity from usage_records where tenant_id = :tenant"


def database_of(stack: Stack) -> Database:
    """Open the service's database."""
    return Database(environment.for_service(stack.layout, SERVICE)["DATABASE_URL"], name="chaos")


async def drained(stack: Stack, history: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Wait until every dispatch is completed, and count what is wrong."""
    database, deadline = database_of(stack), time.monotonic() + DRAIN_SECONDS
    try:
        while await count(database, OPEN) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(1)
        # The outbox is emptied within seconds.
        await asyncio.sleep(3)
        return await webhooks(database, history)
    finally:
        await database.close()


async def webhooks(database: Database, history: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count what is wrong with the events of a history."""
    async with database.begin() as db:
        stored = set(await db.scalars(text(STORED)))
    lost = {str(event["id"]) for event in history} - stored
    return {"webhooks lost": len(lost)} | {
        name: await count(database, query) for name, query in CHECKS.items()
    }


async def count(database: Database, query: str) -> int:
    """Return the number that a query counts."""
    async with database.begin() as db:
        return int(await db.scalar(text(query)) or 0)


async def usage(stack: Stack, tenant_id: str, records: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Compare the ledger with what was reported."""
    database = database_of(stack)
    try:
        return await ledger(database, tenant_id, records)
    finally:
        await database.close()


async def ledger(database: Database, tenant_id: str, records: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count what is lost, doubled or changed in a tenant's ledger."""
    async with database.begin() as db:
        found = (await db.execute(text(RECORDS), {"tenant": tenant_id})).all()
    stored = {row.idempotency_key: Decimal(row.quantity) for row in found}
    expected = {str(record["idempotency_key"]): Decimal(record["quantity"]) for record in records}
    return {
        "usage records lost": len(expected.keys() - stored.keys()),
        "usage records doubled": len(found) - len(stored),
        "usage records with another quantity": sum(
            stored[key] != quantity for key, quantity in expected.items() if key in stored
        ),
    }

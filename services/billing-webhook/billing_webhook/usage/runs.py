"""Usage of runs: chat-agent's event becomes entries and records, and closes the run's reservations."""

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from servicekit.events.outbox import ReceivedEvent
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook import erasure
from billing_webhook.entitlements import counters, plan, reservations
from billing_webhook.entitlements.plan import TenantPlans
from billing_webhook.entitlements.pricing import cost
from billing_webhook.models import Reservation, UsageEntry
from billing_webhook.received_events import ModelUsage, RunCompleted
from billing_webhook.usage import records
from billing_webhook.usage.periods import assign_period

logger = logging.getLogger(__name__)

ENTRY_COLUMNS = {
    "model",
    "requests",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
}


async def record(db: AsyncSession, received: ReceivedEvent) -> None:
    """Record the usage of a run and close its reservations; a run that is recorded already is not changed."""
    run = RunCompleted.model_validate(received.data)
    await counters.lock_shared(db, run.tenant_id)
    closed = await reservations.close(db, run.tenant_id, run.run_id)
    user_id = await erasure.subject_or_anonymous(db, run)
    plans = await plan.load(db, run.tenant_id)
    is_new = run.usage and await insert_entries(db, received, run, user_id)
    rows = rows_of(plans, run, user_id, closed) if is_new else []
    await records.append(db, plans, rows, closed)


async def insert_entries(db: AsyncSession, received: ReceivedEvent, run: RunCompleted, user_id: str) -> bool:
    """Insert an entry for each model, and return whether the run is new."""
    common = {
        **run.model_dump(include={"run_id", "conversation_id", "tenant_id", "agent", "estimated"}),
        "user_id": user_id,
        "event_id": received.id,
        "occurred_at": run.completed_at,
    }
    entries = [{**common, **usage.model_dump(include=ENTRY_COLUMNS)} for usage in run.usage]
    statement = insert(UsageEntry).values(entries).on_conflict_do_nothing()
    inserted = (await db.scalars(statement.returning(UsageEntry.id))).all()
    if len(inserted) < len(entries):
        logger.warning("usage of this run is in the ledger already", extra={"run_id": str(run.run_id)})
    return bool(inserted)


def rows_of(
    plans: TenantPlans, run: RunCompleted, user_id: str, closed: Sequence[Reservation]
) -> list[dict[str, Any]]:
    """Return the ledger's rows for a run: its message, and tokens and cost of each model."""
    common = {
        **assign_period(plans, run.completed_at, datetime.now(UTC))._asdict(),
        "occurred_at": run.completed_at,
        "source": "run",
        "run_id": run.run_id,
        "user_id": user_id,
        "api_key_id": next((row.api_key_id for row in closed if row.api_key_id), None),
        "agent": run.initial_agent or run.agent,
    }
    return [
        {
            **common,
            "feature_key": feature,
            "quantity": quantity,
            "model": model,
            "idempotency_key": f"run:{run.run_id}:{feature}:{model or ''}",
            "digest": records.digest(feature, quantity, model),
        }
        for feature, model, quantity in quantities(run)
        if quantity
    ]


def quantities(run: RunCompleted) -> Iterator[tuple[str, str | None, Decimal]]:
    """Return feature, model and quantity of what a run used."""
    yield "messages", None, Decimal(run.messages)
    for used in run.usage:
        yield "input_tokens", used.model, Decimal(used.input_tokens)
        yield "output_tokens", used.model, Decimal(used.output_tokens)
        yield "cost", used.model, charged_cost(used)


def charged_cost(used: ModelUsage) -> Decimal:
    """Return the cost of the tokens of a model, without those that the provider charges the tenant for."""
    own = used.own_key_input_tokens, used.own_key_output_tokens, used.own_key_cached_tokens
    charged = used.input_tokens, used.output_tokens, used.cached_tokens
    amounts = [max(all_ - own_, 0) for all_, own_ in zip(charged, own, strict=True)]
    return cost(used.model, *amounts)

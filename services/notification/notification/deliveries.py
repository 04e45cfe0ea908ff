"""The queue of emails: one row each, claimed under a lease, so that another sender can take over."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from servicekit import erasure
from servicekit.auth.tokens import Principal
from servicekit.backoff import exponential, jittered
from servicekit.database import wake_on_commit
from servicekit.erasure import deleted_users
from servicekit.pagination import next_cursor, paginate
from servicekit.retention import RetentionRule
from servicekit.schemas import Page
from servicekit.telemetry import traceparent
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from notification import schemas
from notification.models import UNFINISHED, Base, Delivery

# Resend remembers an idempotency key for 24 hours (resend.com/docs/dashboard/emails/idempotency-keys);
# a retry after that could send a second email.
MAX_AGE = timedelta(hours=23)
# Its recipient is deleted: nothing of theirs stays once it is sent.
GOODBYE_TEMPLATE = "account_deleted"
LEASE = timedelta(seconds=30)
MAX_RETRY_SECONDS = 60.0


@dataclass(frozen=True)
class Outcome:
    """The result of one attempt; with `retry_in` (seconds), the delivery is tried again."""

    status: str
    provider_id: str | None = None
    error: str | None = None
    retry_in: float | None = None


async def enqueue(db: AsyncSession, *, expires_at: datetime, **values: Any) -> None:
    """Enqueue an email; a second time with the same `dedupe_key` changes nothing.

    A deleted user gets only the goodbye email, however late the events of the others arrive.
    """
    if values["template"] != GOODBYE_TEMPLATE and await db.scalar(erasure.is_deleted_user(values["user_id"])):
        return
    deadline = min(expires_at, datetime.now(UTC) + MAX_AGE)
    row = insert(Delivery).values({"traceparent": traceparent(), **values, "expires_at": deadline})
    await db.execute(row.on_conflict_do_nothing())
    wake_on_commit(db, Delivery.__tablename__)


async def erase_user(db: AsyncSession, user_id: str) -> None:
    """Delete all emails of a deleted user, sent or not, except the goodbye email."""
    condition = (Delivery.user_id == user_id, Delivery.template != GOODBYE_TEMPLATE)
    await db.execute(delete(Delivery).where(*condition))


def erasure_rules() -> list[RetentionRule]:
    """Return the rules that delete emails enqueued while their user was deleted, and of purged tenants.

    The latter only where the recipient has no account: what was sent to a user is the user's.
    """
    table = Base.metadata.tables[Delivery.__tablename__]
    is_erased = Delivery.user_id.in_(select(deleted_users.c.user_id))
    return [
        (table, is_erased & (Delivery.template != GOODBYE_TEMPLATE)),
        (table, Delivery.tenant_id.in_(erasure.purgeable_tenants()) & Delivery.user_id.startswith("mail:")),
    ]


async def claim(db: AsyncSession, count: int) -> Sequence[Delivery]:
    """Claim due deliveries for the time of a lease, without waiting for other senders."""
    due = (
        select(Delivery.id)
        .where(Delivery.status.in_(UNFINISHED), Delivery.due_at <= func.now())
        .order_by(Delivery.due_at)
        .limit(count)
        .with_for_update(skip_locked=True)
        # A CTE is evaluated once; a subquery could be evaluated again and claim more.
        .cte("due")
    )
    values = {"status": "sending", "attempts": Delivery.attempts + 1, "due_at": func.now() + LEASE}
    claimed = update(Delivery).where(Delivery.id == due.c.id).values(values).returning(Delivery)
    return (await db.scalars(claimed)).all()


async def seconds_until_due(db: AsyncSession) -> float:
    """Return, at little cost, in how many seconds the next delivery is due; endless without any."""
    due = select(func.extract("epoch", func.min(Delivery.due_at) - func.now()))
    seconds = await db.scalar(due.where(Delivery.status.in_(UNFINISHED)))
    return math.inf if seconds is None else float(seconds)


async def finish(db: AsyncSession, delivery: Delivery, outcome: Outcome) -> bool:
    """Store the result of an attempt; return False when another sender has taken over since."""
    values: dict[str, Any] = {
        "status": outcome.status,
        "provider_id": outcome.provider_id,
        "last_error": outcome.error,
    }
    if outcome.retry_in is None:
        # The token is no longer needed here.
        values["sealed_token"] = None
        if delivery.template == GOODBYE_TEMPLATE:
            values |= {"address": "", "payload": {}}
    else:
        values["due_at"] = func.now() + timedelta(seconds=outcome.retry_in)
    if outcome.status == "sent":
        values["sent_at"] = func.now()
    owned = (Delivery.id == delivery.id, Delivery.status == "sending", Delivery.attempts == delivery.attempts)
    updated = await db.execute(update(Delivery).where(*owned).values(values).returning(Delivery.id))
    return updated.first() is not None


def retry_delay(attempts: int) -> float:
    """Return the seconds to wait after so many attempts: doubling, with jitter, a minute at most."""
    return jittered(exponential(attempts, 1.0, MAX_RETRY_SECONDS))


async def list_page(
    db: AsyncSession, caller: Principal, limit: int, cursor: str | None
) -> Page[schemas.Notification]:
    """List the caller's notifications, newest first: those of the tenant and those of none."""
    in_tenant = or_(Delivery.tenant_id == caller.tenant_id, Delivery.tenant_id.is_(None))
    query = select(Delivery).where(in_tenant, Delivery.user_id == caller.user_id)
    page = paginate(query, Delivery.created_at, Delivery.id, limit, cursor, newest_first=True)
    rows = (await db.scalars(page)).all()
    return Page(
        items=[schemas.Notification.model_validate(row) for row in rows[:limit]],
        next_cursor=next_cursor(rows, limit, "created_at", "id"),
    )

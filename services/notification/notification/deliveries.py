"""The queue of mails: one row each, claimed under a lease, so that another sender follows one that dies."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from servicekit import erasure
from servicekit.auth.tokens import Principal
from servicekit.erasure import deleted_users
from servicekit.schemas import InvalidCursor, Page, decode_cursor, encode_cursor
from servicekit.telemetry import traceparent
from servicekit.workers.retention import RetentionRule
from sqlalchemy import delete, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from notification import schemas
from notification.models import UNFINISHED, Base, Delivery

# Resend knows an idempotency key for 24 hours (resend.com/docs/dashboard/emails/idempotency-keys);
# a retry after that could be a second mail.
LONGEST_LIFE = timedelta(hours=23)
# To whom it goes has left: nothing of them is kept when it is out.
FAREWELL = "account_deleted"
LEASE = timedelta(seconds=30)
LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class Outcome:
    """How one attempt at a delivery ended; with `retry_in` (seconds), it is tried again."""

    status: str
    provider_id: str | None = None
    error: str | None = None
    retry_in: float | None = None


async def enqueue(session: AsyncSession, *, expires_at: datetime, **values: Any) -> None:
    """Ask for a mail; a second time with the same `dedupe_key` changes nothing.

    To who has left, only the farewell goes, however late the others are heard of.
    """
    if values["template"] != FAREWELL and await session.scalar(erasure.is_deleted_user(values["user_id"])):
        return
    deadline = min(expires_at, datetime.now(UTC) + LONGEST_LIFE)
    row = insert(Delivery).values(expires_at=deadline, traceparent=traceparent(), **values)
    await session.execute(row.on_conflict_do_nothing())


async def forget(session: AsyncSession, user_id: str) -> None:
    """Remove all mails of a person who has left, sent or not; only the farewell still goes out."""
    await erasure.insert_deleted_user(session, user_id)
    theirs = (Delivery.user_id == user_id, Delivery.template != FAREWELL)
    await session.execute(delete(Delivery).where(*theirs))


def of_leavers() -> RetentionRule:
    """Say which mails were asked for at the very moment in which their person left."""
    gone = Delivery.user_id.in_(select(deleted_users.c.user_id))
    return Base.metadata.tables["deliveries"], gone & (Delivery.template != FAREWELL)


async def claim(session: AsyncSession, count: int) -> Sequence[Delivery]:
    """Take what is due, for as long as the lease lasts; what others are just taking is passed over."""
    due = (
        select(Delivery.id)
        .where(Delivery.status.in_(UNFINISHED), Delivery.due_at <= func.now())
        .order_by(Delivery.due_at)
        .limit(count)
        .with_for_update(skip_locked=True)
        # Apart, so that it is worked out once: as a plain subquery it may be run again, and take more.
        .cte("due")
    )
    taken = {"status": "sending", "attempts": Delivery.attempts + 1, "due_at": func.now() + LEASE}
    claimed = update(Delivery).where(Delivery.id == due.c.id).values(taken).returning(Delivery)
    return (await session.scalars(claimed)).all()


async def settle(session: AsyncSession, delivery: Delivery, outcome: Outcome) -> bool:
    """Write down how an attempt ended; False when the lease has run out, and another sender took over."""
    values: dict[str, Any] = {
        "status": outcome.status,
        "provider_id": outcome.provider_id,
        "last_error": outcome.error,
    }
    if outcome.retry_in is None:
        # The token has done its work here.
        values["sealed_token"] = None
        if delivery.template == FAREWELL:
            values |= {"address": "", "payload": {}}
    else:
        values["due_at"] = func.now() + timedelta(seconds=outcome.retry_in)
    if outcome.status == "sent":
        values["sent_at"] = func.now()
    mine = (Delivery.id == delivery.id, Delivery.status == "sending", Delivery.attempts == delivery.attempts)
    settled = await session.execute(update(Delivery).where(*mine).values(values).returning(Delivery.id))
    return settled.first() is not None


def pause_after(attempts: int) -> float:
    """Give the seconds to wait after so many attempts: doubling, with jitter, a minute at most."""
    pause = min(LONGEST_PAUSE, 2.0 ** min(attempts - 1, 10))
    return random.uniform(pause / 2, pause)  # noqa: S311  # spreads load, keeps no secret


async def list_own(
    session: AsyncSession, caller: Principal, limit: int, cursor: str | None
) -> Page[schemas.Notification]:
    """List the caller's own notifications, newest first: those of the tenant, and those of none."""
    here = or_(Delivery.tenant_id == caller.tenant_id, Delivery.tenant_id.is_(None))
    found = (
        select(Delivery)
        .where(here, Delivery.user_id == caller.user_id)
        .order_by(Delivery.created_at.desc(), Delivery.id.desc())
        .limit(limit + 1)
    )
    if cursor:
        last = aliased(Delivery)
        older = tuple_(Delivery.created_at, Delivery.id) < tuple_(last.created_at, last.id)
        found = found.join(last, last.id == id_in(cursor)).where(older)
    rows = (await session.scalars(found)).all()
    more = len(rows) > limit
    return Page(
        items=[schemas.Notification.model_validate(row) for row in rows[:limit]],
        next_cursor=encode_cursor(str(rows[limit - 1].id)) if more else None,
    )


def id_in(cursor: str) -> UUID:
    """Read the id of the last notification of the page before."""
    (text,) = decode_cursor(cursor, str)
    try:
        return UUID(str(text))
    except ValueError:
        raise InvalidCursor from None

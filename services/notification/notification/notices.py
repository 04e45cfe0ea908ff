"""Emails about a tenant's billing that are due, until it is known who gets them."""

import math
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from servicekit.backoff import exponential, jittered
from servicekit.database import wake_on_commit
from servicekit.telemetry import traceparent
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from notification import deliveries
from notification.models import Notice
from notification.recipients import Recipients

LEASE = timedelta(seconds=30)
MAX_RETRY_SECONDS = 60.0


async def enqueue(  # noqa: PLR0913  # the parts of an email
    db: AsyncSession,
    *,
    dedupe_key: str,
    tenant_id: UUID,
    template: str,
    payload: dict[str, Any],
    expires_at: datetime,
) -> None:
    """Enqueue an email to a tenant; a second time with the same `dedupe_key` sends no second one."""
    row = insert(Notice).values(
        dedupe_key=dedupe_key,
        tenant_id=tenant_id,
        template=template,
        payload=payload,
        traceparent=traceparent(),
        expires_at=expires_at,
    )
    await db.execute(row.on_conflict_do_nothing())
    wake_on_commit(db, Notice.__tablename__)


async def claim(db: AsyncSession) -> Notice | None:
    """Claim the next notice that is due for the time of a lease, without waiting for other replicas."""
    due = (
        select(Notice.dedupe_key)
        .where(Notice.due_at <= func.now())
        .order_by(Notice.due_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    values = {"attempts": Notice.attempts + 1, "due_at": func.now() + LEASE}
    claimed = update(Notice).where(Notice.dedupe_key == due.c.dedupe_key).values(values).returning(Notice)
    notice: Notice | None = await db.scalar(claimed)
    return notice


async def address(db: AsyncSession, notice: Notice, recipients: Recipients) -> None:
    """Enqueue one delivery for each recipient in place of the notice.

    Another replica may do the same when the lease has expired: a recipient gets one email all the same.
    """
    for person in recipients.people:
        await deliveries.enqueue(
            db,
            dedupe_key=f"{notice.dedupe_key}:{person.user_id}",
            tenant_id=notice.tenant_id,
            user_id=person.user_id,
            template=notice.template,
            address=person.email,
            payload={
                **notice.payload,
                "tenant_name": recipients.tenant_name,
                "name": person.display_name,
            },
            traceparent=notice.traceparent,
            expires_at=notice.expires_at,
        )
    await discard(db, notice)


async def discard(db: AsyncSession, notice: Notice) -> None:
    """Delete a notice that is addressed, or has expired."""
    await db.execute(delete(Notice).where(Notice.dedupe_key == notice.dedupe_key))


async def postpone(db: AsyncSession, notice: Notice) -> None:
    """Have a notice tried again, after a pause that grows with its attempts."""
    seconds = jittered(exponential(notice.attempts, 1.0, MAX_RETRY_SECONDS))
    owned = (Notice.dedupe_key == notice.dedupe_key, Notice.attempts == notice.attempts)
    due_at = func.now() + timedelta(seconds=seconds)
    await db.execute(update(Notice).where(*owned).values(due_at=due_at))


async def seconds_until_due(db: AsyncSession) -> float:
    """Return in how many seconds the next notice is due; endless without any."""
    seconds = await db.scalar(select(func.extract("epoch", func.min(Notice.due_at) - func.now())))
    return math.inf if seconds is None else float(seconds)

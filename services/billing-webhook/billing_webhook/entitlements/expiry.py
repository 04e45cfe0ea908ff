"""Releases reservations that nobody settles, and those of runs whose end is never told."""

from datetime import timedelta

from servicekit.database import Database
from servicekit.workers.base import LoopWorker, shielded
from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.entitlements import counters
from billing_webhook.entitlements.reservations import releases
from billing_webhook.models import Reservation

BATCH_SIZE = 200
POLL_SECONDS = 15.0
RUN_LIFETIME = timedelta(days=35)
KEY = (Reservation.tenant_id, Reservation.run_id, Reservation.call)


class ReservationExpiryWorker(LoopWorker):
    """Expires in small batches; several replicas may run."""

    def __init__(self, database: Database) -> None:
        super().__init__("reservation-expiry")
        self._database = database

    async def begin(self) -> None:
        """Verify that the database is reachable."""
        await self._database.ping()

    async def step(self) -> float:
        """Expire one batch, and the next one at once while there are more."""
        return 0 if await shielded(expire(self._database)) >= BATCH_SIZE else POLL_SECONDS


async def expire(database: Database) -> int:
    """Expire a batch of reservations, and return their number."""
    async with database.begin() as db:
        expired = await release_unsettled(db)
    async with database.begin() as db:
        return max(expired, await close_forgotten(db))


async def release_unsettled(db: AsyncSession) -> int:
    """Release calls that were not settled in time; their rows stay, so that a settlement is still counted."""
    is_expired = (Reservation.state == "reserved", Reservation.expires_at < func.now())
    query = select(Reservation).where(*is_expired).order_by(*KEY).limit(BATCH_SIZE)
    expired = (await db.scalars(query.with_for_update(skip_locked=True))).all()
    changes = releases(expired)
    for reservation in expired:
        reservation.state = "expired"
        reservation.holds = [{**hold, "amount": "0"} for hold in reservation.holds]
    await db.flush()
    await counters.apply(db, changes)
    return len(expired)


async def close_forgotten(db: AsyncSession) -> int:
    """Delete the reservations of runs that began too long ago to be told of any more."""
    is_old = Reservation.created_at < func.now() - RUN_LIFETIME
    query = select(Reservation).where(is_old).order_by(*KEY).limit(BATCH_SIZE)
    old = (await db.scalars(query.with_for_update(skip_locked=True))).all()
    if old:
        keys = [(row.tenant_id, row.run_id, row.call) for row in old]
        await db.execute(delete(Reservation).where(tuple_(*KEY).in_(keys)))
    await counters.apply(db, releases(old))
    return len(old)

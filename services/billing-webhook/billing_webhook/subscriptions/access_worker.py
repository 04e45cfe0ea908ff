"""Publishes the changes of access that time alone brings, such as the end of a grace period."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from servicekit.database import Database
from servicekit.workers.base import LoopWorker, shielded
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook import entitlement_versions
from billing_webhook.models import Subscription
from billing_webhook.subscriptions import access_changes, sync

BATCH_SIZE = 100
# At most, for what another process has stored; what this process stores wakes the worker.
POLL_SECONDS = 60.0
DUE = Subscription.access_changes_at


class AccessWorker(LoopWorker):
    """Sleeps until the access of some subscription changes; several replicas may run."""

    def __init__(self, database: Database) -> None:
        super().__init__("access", wakeup=database.wakeup(Subscription.__tablename__))
        self._database = database

    async def begin(self) -> None:
        """Verify that the database is reachable."""
        await self._database.ping()

    async def step(self) -> float:
        """Publish all changes that are due, and return the seconds until the next."""
        while tenants := await self._due_tenants():
            for tenant_id in tenants:
                await shielded(self._publish(tenant_id))
        async with self._database.begin() as db:
            next_at = await db.scalar(select(func.min(DUE)))
        # By the clock that decides what is due.
        seconds = POLL_SECONDS if next_at is None else (next_at - datetime.now(UTC)).total_seconds()
        return min(max(seconds, 0), POLL_SECONDS)

    async def _due_tenants(self) -> Sequence[UUID]:
        due = select(Subscription.tenant_id).where(datetime.now(UTC) >= DUE).order_by(DUE)
        async with self._database.begin() as db:
            return (await db.scalars(due.limit(BATCH_SIZE))).all()

    async def _publish(self, tenant_id: UUID) -> None:
        async with self._database.begin() as db:
            await publish_due(db, tenant_id)


async def publish_due(db: AsyncSession, tenant_id: UUID) -> None:
    """Publish the change of access of a tenant's subscription, unless another replica has done so."""
    await sync.lock_tenant(db, tenant_id)
    now = datetime.now(UTC)
    due = select(Subscription).where(Subscription.tenant_id == tenant_id, now >= DUE)
    for row in (await db.scalars(due)).all():
        await entitlement_versions.increment(db, tenant_id)
        await access_changes.publish_access(db, row, now)

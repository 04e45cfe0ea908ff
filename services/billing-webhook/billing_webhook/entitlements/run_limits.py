"""The limits of runs, read for each reservation: one query, unless something has changed them."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook import entitlement_versions
from billing_webhook.access import Access
from billing_webhook.entitlements import plan, quotas
from billing_webhook.entitlements.plan import TenantPlans
from billing_webhook.entitlements.quotas import Quota, Subject
from billing_webhook.errors import SubscriptionReadOnly
from billing_webhook.models import Budget
from billing_webhook.settings import Settings

MAX_CACHED = 10_000


class TenantLimits(NamedTuple):
    """What a tenant's limits derive from, and the stamp of the version that it belongs to."""

    stamp: str
    plans: TenantPlans
    budgets: Sequence[Budget]


class RunLimits:
    """Reads the limits of runs, with a cache in this process.

    The version is read in the transaction of the reservation, so an entry never outlives a change. The plan
    at a time and the periods are derived anew each time.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._cache: dict[UUID, TenantLimits] = {}

    async def of_run(self, db: AsyncSession, tenant_id: UUID, subject: Subject, now: datetime) -> list[Quota]:
        """List the limits that a run has to keep, in the order of their counters.

        Raises SubscriptionReadOnly.
        """
        limits = await self._of_tenant(db, tenant_id)
        current = limits.plans.at(now)
        if current.access is Access.READ_ONLY:
            raise SubscriptionReadOnly
        return quotas.of_run(tenant_id, current, limits.budgets, subject, now)

    async def _of_tenant(self, db: AsyncSession, tenant_id: UUID) -> TenantLimits:
        """Return the cached limits of a tenant, or load them when their version is another."""
        # The stamp first: what is read after it is at least as new.
        stamp = await entitlement_versions.stamp(db, tenant_id)
        cached = self._cache.get(tenant_id)
        if cached is not None and cached.stamp == stamp:
            return cached
        limits = TenantLimits(stamp, await plan.load(db, tenant_id), await quotas.budgets_of(db, tenant_id))
        for row in (*limits.plans.subscriptions, *limits.plans.grants, *limits.budgets):
            # A rollback of this transaction would expire it.
            db.expunge(row)
        if len(self._cache) >= MAX_CACHED:
            self._cache.clear()
        self._cache[tenant_id] = limits
        return limits

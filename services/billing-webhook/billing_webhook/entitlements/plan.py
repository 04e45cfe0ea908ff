"""The plan that a tenant has at a time, its period, and how much of it may be used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.access import Access, access_at
from billing_webhook.entitlements.periods import Period, anchored_period, month_of
from billing_webhook.models import EntitlementGrant, Subscription
from billing_webhook.plans.catalog import FREE, Plan, catalog

LONGEST_MONTH = timedelta(days=31)


class EffectiveLimit(NamedTuple):
    """How much of a feature a tenant may use; None without limit."""

    limit: Decimal | None
    is_hard: bool
    resets: bool
    source: str


@dataclass(frozen=True)
class TenantPlan:
    """A tenant's plan at a time, the period that its limits hold for, and what was granted beside it."""

    plan: Plan
    period: Period
    access: Access = Access.FREE
    subscription_id: str | None = None
    seats: int = 1
    status: str = "active"
    grants: Mapping[str, EntitlementGrant] = field(default_factory=dict)

    def includes(self, feature: str) -> bool:
        """Return whether the tenant has a feature."""
        return feature in self.grants or self.plan.includes(feature)

    def limit(self, feature: str) -> EffectiveLimit | None:
        """Return the limit of a feature: the grant's before the plan's. None if it is not limited at all."""
        planned, grant = self.plan.limit(feature), self.grants.get(feature)
        if planned is None:
            return None
        is_hard, resets = planned.kind == "hard", planned.reset == "period"
        if grant is not None:
            return EffectiveLimit(grant.limit, is_hard, resets, "grant")
        return EffectiveLimit(planned.limit, is_hard, resets, "plan")


@dataclass(frozen=True)
class TenantPlans:
    """The plans that a tenant has had, by its subscriptions, the newest first."""

    tenant_id: UUID
    subscriptions: Sequence[Subscription] = ()
    grants: Sequence[EntitlementGrant] = ()

    def at(self, time: datetime) -> TenantPlan:
        """Return the plan at a time; without a subscription it is the free one, by calendar month."""
        current = next((each for each in self.subscriptions if covers(each, time)), None)
        # Of what has ended by now it matters only which period it had.
        level = Access.FREE if current is None else access_at(current, time)
        if current is None or (level is Access.FREE and current.ended_at is None):
            free = catalog().plan(FREE)
            return TenantPlan(free, month_of(time), level, grants=self.grants_at(time))
        plan = catalog().find(current.plan_code) or catalog().plan(FREE)
        return TenantPlan(
            plan,
            period_of(current, time),
            level,
            current.stripe_subscription_id,
            current.seats,
            current.status,
            self.grants_at(time),
        )

    def grants_at(self, time: datetime) -> dict[str, EntitlementGrant]:
        """Return the grant of each feature that counts at a time."""
        valid = [grant for grant in self.grants if grant.expires_at is None or time < grant.expires_at]
        # The last one in this order stays.
        ordered = sorted(valid, key=lambda grant: (grant.priority, grant.created_at))
        return {grant.feature_key: grant for grant in ordered}


async def load(db: AsyncSession, tenant_id: UUID) -> TenantPlans:
    """Load the subscriptions of a tenant, and what was granted to it."""
    subscriptions = select(Subscription).where(Subscription.tenant_id == tenant_id)
    grants = select(EntitlementGrant).where(EntitlementGrant.tenant_id == tenant_id)
    return TenantPlans(
        tenant_id,
        (await db.scalars(subscriptions.order_by(Subscription.created_at.desc()))).all(),
        (await db.scalars(grants)).all(),
    )


async def of_tenant(db: AsyncSession, tenant_id: UUID, time: datetime) -> TenantPlan:
    """Return the plan of a tenant at a time."""
    return (await load(db, tenant_id)).at(time)


def covers(subscription: Subscription, time: datetime) -> bool:
    """Return whether a subscription was there at a time."""
    return subscription.started_at <= time and (subscription.ended_at is None or time < subscription.ended_at)


def period_of(subscription: Subscription, time: datetime) -> Period:
    """Return the period of a time: the one that Stripe has told of, or one derived from it.

    So a period begins on time, also when nothing has told us of it yet.
    """
    start, end = subscription.current_period_start, subscription.current_period_end
    if start is None or end is None:
        return month_of(time)
    if start <= time < end:
        return Period(start, end)
    months = 1 if end - start <= LONGEST_MONTH else 12
    if time >= end:
        return anchored_period(end, time, months)
    before = anchored_period(anchor_of(subscription, start, months), time, months)
    return before._replace(start=max(before.start, subscription.started_at), end=min(before.end, start))


def anchor_of(subscription: Subscription, start: datetime, months: int) -> datetime:
    """Return the time that a subscription's periods are counted from.

    That of a month with fewer days is not its anchor: what is billed on the 31st is billed on 28 February.
    """
    for anchor in (subscription.trial_end, subscription.started_at):
        if anchor is not None and anchored_period(anchor.astimezone(UTC), start, months).start == start:
            return anchor
    return start

"""The limits that a run has to keep: those of the plan, and the budgets that apply to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.entitlements import plan
from billing_webhook.entitlements.counters import TENANT_SCOPE, CounterKey
from billing_webhook.entitlements.periods import Interval, Period, day_of, month_of
from billing_webhook.models import Budget
from billing_webhook.plans.catalog import RUN_FEATURES

HARD = "hard"


class Subject(NamedTuple):
    """Who runs which agent; budgets apply by it."""

    user_id: str | None
    api_key_id: str | None
    agent: str | None


@dataclass(frozen=True)
class Quota:
    """A limit for a counter. `scope` is for people; the counter's own names the budget."""

    key: CounterKey
    scope: str
    limit: Decimal
    is_hard: bool
    period: Period
    is_budget: bool = False

    @property
    def feature(self) -> str:
        """The feature of the plan, or the unit of the budget."""
        return self.key.feature


def of_run(
    tenant_id: UUID, current: plan.TenantPlan, budgets: Sequence[Budget], subject: Subject, now: datetime
) -> list[Quota]:
    """List the limits that a run has to keep, in the order in which counters are locked."""
    own = [quota_of_budget(budget, current.period, now) for budget in budgets if applies(budget, subject)]
    return sorted([*quotas_of_plan(tenant_id, current), *own], key=lambda quota: quota.key)


def quotas_of_plan(tenant_id: UUID, current: plan.TenantPlan) -> list[Quota]:
    """List the plan's limits for what runs use."""
    limits = {feature: current.limit(feature) for feature in RUN_FEATURES}
    return [
        Quota(
            CounterKey(tenant_id, feature, TENANT_SCOPE, current.period.start),
            TENANT_SCOPE,
            limit.limit,
            limit.is_hard,
            current.period,
        )
        for feature, limit in limits.items()
        if limit is not None and limit.limit is not None
    ]


def quota_of_budget(budget: Budget, period: Period, now: datetime) -> Quota:
    """Return the limit of a budget at a time; `period` is the subscription's."""
    window = window_of(budget.interval, period, now)
    key = CounterKey(budget.tenant_id, budget.unit, counter_scope(budget), window.start)
    return Quota(key, budget.scope, budget.limit, budget.kind == HARD, window, is_budget=True)


def window_of(interval: str, period: Period, now: datetime) -> Period:
    """Return the span of a budget at a time."""
    windows: dict[str, Period] = {"day": day_of(now), "month": month_of(now), "period": period}
    return windows[interval]


def counter_scope(budget: Budget) -> str:
    """Return the scope of a budget's counters."""
    return f"budget:{budget.id}"


async def budgets_of(db: AsyncSession, tenant_id: UUID) -> Sequence[Budget]:
    """List the budgets of a tenant."""
    return (await db.scalars(select(Budget).where(Budget.tenant_id == tenant_id))).all()


def applies(budget: Budget, subject: Subject) -> bool:
    """Return whether what a subject uses counts for a budget."""
    ids: dict[str, str | None] = {
        "user": subject.user_id,
        "api_key": subject.api_key_id,
        "agent": subject.agent,
    }
    return budget.scope == TENANT_SCOPE or ids[budget.scope] == budget.scope_id


__all__ = ["Interval", "Quota", "Subject"]

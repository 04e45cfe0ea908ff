"""Events when usage reaches a share of a limit: each once in a period."""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.billing_events.publish import publish
from billing_webhook.entitlements.counters import CounterKey
from billing_webhook.entitlements.quotas import Quota
from billing_webhook.events import UsageThresholdReached
from billing_webhook.models import UsageTotal

PERCENTAGES = (50, 80, 90, 100)


async def publish_reached(
    db: AsyncSession, totals: Mapping[CounterKey, UsageTotal], limits: Iterable[Quota]
) -> None:
    """Publish the thresholds that counters have reached; their rows are locked, and remember it."""
    reached = [
        (quota, totals[quota.key], percent)
        for quota in limits
        if quota.key in totals
        for percent in reached_by(totals[quota.key], quota.limit)
    ]
    for quota, total, percent in reached:
        total.notified_percent = percent
        event = UsageThresholdReached(
            tenant_id=total.tenant_id,
            feature=quota.feature,
            scope=quota.scope,
            percent=percent,
            used=total.used,
            limit=quota.limit,
            kind="hard" if quota.is_hard else "soft",
            period_start=quota.period.start,
            resets_at=quota.period.end,
        )
        await publish(db, event, tenant_id=total.tenant_id)


def reached_by(total: UsageTotal, limit: Decimal) -> Iterator[int]:
    """Return the thresholds that a counter has reached since it was last notified."""
    for percent in PERCENTAGES:
        if total.notified_percent < percent and limit and total.used * 100 >= limit * percent:
            yield percent

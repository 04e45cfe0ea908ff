"""Answers to what exceeds a limit."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from billing_webhook.entitlements.counters import Change
from billing_webhook.entitlements.quotas import Quota
from billing_webhook.errors import QuotaExceeded, QuotaExceededToday
from billing_webhook.quantities import to_text
from billing_webhook.settings import Settings

SOON = timedelta(days=1)


def quota_exceeded(settings: Settings, quota: Quota, counter: Change, amount: Decimal) -> QuotaExceeded:
    """Describe the limit that is exceeded: 429 when it resets within a day, otherwise 402."""
    left = quota.period.end - datetime.now(UTC)
    is_soon = left <= SOON
    error = QuotaExceededToday if is_soon else QuotaExceeded
    return error(
        retry_after=left.total_seconds() if is_soon else None,
        feature=quota.feature,
        scope=quota.scope,
        limit=to_text(quota.limit),
        used=to_text(counter.used),
        reserved=to_text(counter.reserved),
        requested=to_text(amount),
        resets_at=quota.period.end.isoformat().replace("+00:00", "Z"),
        upgrade_url=settings.upgrade_url,
    )

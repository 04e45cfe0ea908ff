"""Deletes billing events: the old ones, and those of purged tenants, which are in the outbox, too."""

from collections.abc import Sequence
from datetime import timedelta

from servicekit import erasure
from servicekit.retention import RetentionRule
from sqlalchemy import func

from billing_webhook.models import Base, BillingEvent
from billing_webhook.settings import Settings


def retention_rules(settings: Settings) -> Sequence[RetentionRule]:
    """Return the rules; a tenant's counter stays, so that no number is used twice."""
    events = Base.metadata.tables["billing_events"]
    is_old = BillingEvent.occurred_at < func.now() - timedelta(days=settings.billing_event_retention_days)
    outbox = Base.metadata.tables["outbox"]
    purged = erasure.purgeable_tenants()
    return [
        (events, is_old),
        (events, BillingEvent.tenant_id.in_(purged)),
        (outbox, outbox.c.published_at.is_not(None) & outbox.c.tenant_id.in_(purged)),
    ]

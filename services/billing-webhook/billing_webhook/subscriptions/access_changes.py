"""Publishes the access that a subscription gives, whenever it is another than before."""

from datetime import datetime

from servicekit.database import wake_on_commit
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.access import ACCESS, access_reason_at, next_access_change
from billing_webhook.billing_events.publish import publish
from billing_webhook.events import AccessChanged
from billing_webhook.models import Subscription


async def publish_access(db: AsyncSession, row: Subscription, time: datetime) -> None:
    """Publish the access of a subscription at a time, unless it was published before.

    The tenant is locked, so that each change is published once.
    """
    changes_at = next_access_change(row, time)
    if changes_at != row.access_changes_at:
        row.access_changes_at = changes_at
        wake_on_commit(db, Subscription.__tablename__)
    reason = access_reason_at(row, time)
    if reason == row.access_reason:
        return
    row.access_reason = reason
    changed = AccessChanged(
        tenant_id=row.tenant_id,
        subscription_id=row.id,
        plan_code=row.plan_code,
        access=ACCESS[reason],
        reason=reason,
        changes_at=changes_at,
    )
    await publish(db, changed, tenant_id=row.tenant_id)

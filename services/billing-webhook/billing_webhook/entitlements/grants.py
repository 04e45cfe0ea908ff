"""Grants of an operator: another limit, no limit, or a feature that the plan does not contain."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook import audit, entitlement_versions
from billing_webhook.audit import OPERATOR, AuditAction
from billing_webhook.billing_events.publish import publish
from billing_webhook.entitlements import counters, plan
from billing_webhook.errors import FeatureNotFound, GrantNotFound
from billing_webhook.events import EntitlementsChanged
from billing_webhook.models import EntitlementGrant
from billing_webhook.plans.catalog import catalog
from billing_webhook.quantities import to_text


async def create(  # noqa: PLR0913  # what is granted, each by its name
    db: AsyncSession,
    tenant_id: UUID,
    feature: str,
    *,
    limit: Decimal | None,
    priority: int,
    expires_at: datetime | None,
    reason: str,
    granted_by: str,
) -> EntitlementGrant:
    """Grant a feature in place of what the plan says of it; raises FeatureNotFound."""
    if feature not in catalog().features:
        raise FeatureNotFound
    grant = EntitlementGrant(
        id=uuid4(),
        tenant_id=tenant_id,
        feature_key=feature,
        limit=limit,
        priority=priority,
        expires_at=expires_at,
        reason=reason,
        granted_by=granted_by,
    )
    await counters.lock_exclusive(db, tenant_id)
    db.add(grant)
    await db.flush()
    record(db, AuditAction.GRANT_CREATED, grant)
    await announce(db, tenant_id)
    return grant


async def revoke(db: AsyncSession, grant_id: UUID) -> None:
    """Revoke a grant; raises GrantNotFound."""
    grant = await db.get(EntitlementGrant, grant_id)
    if grant is None:
        raise GrantNotFound
    await db.delete(grant)
    await db.flush()
    record(db, AuditAction.GRANT_REVOKED, grant)
    await announce(db, grant.tenant_id)


def record(db: AsyncSession, action: AuditAction, grant: EntitlementGrant) -> None:
    """Record in the audit log what an operator has done; who it was stays with the operators."""
    audit.record(
        db,
        OPERATOR,
        action,
        tenant_id=grant.tenant_id,
        grant_id=str(grant.id),
        feature=grant.feature_key,
        limit=None if grant.limit is None else to_text(grant.limit),
        expires_at=grant.expires_at.isoformat() if grant.expires_at else None,
    )


async def list_all(db: AsyncSession, tenant_id: UUID) -> Sequence[EntitlementGrant]:
    """List the grants of a tenant, also expired ones."""
    query = select(EntitlementGrant).where(EntitlementGrant.tenant_id == tenant_id)
    return (await db.scalars(query.order_by(EntitlementGrant.created_at))).all()


async def announce(db: AsyncSession, tenant_id: UUID) -> None:
    """Make caches out of date, and publish that entitlements have changed."""
    await entitlement_versions.increment(db, tenant_id)
    current = await plan.of_tenant(db, tenant_id, datetime.now(UTC))
    changed = EntitlementsChanged(tenant_id=tenant_id, plan_code=current.plan.code, status=current.status)
    await publish(db, changed, tenant_id=tenant_id)

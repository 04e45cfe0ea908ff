"""What a tenant may use of each feature, and what of it is left."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from redis.asyncio import Redis
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook import entitlement_versions
from billing_webhook.access import Access
from billing_webhook.entitlements import cache, plan
from billing_webhook.entitlements.counters import TENANT_SCOPE, ZERO, Change
from billing_webhook.entitlements.plan import TenantPlan
from billing_webhook.entitlements.schemas import Definition, Entitlement, Entitlements, FeatureDefinition
from billing_webhook.errors import EntitlementNotFound
from billing_webhook.models import Customer, StripeObject, UsageTotal
from billing_webhook.plans.catalog import catalog

SEATS = "seats"


async def summarise(db: AsyncSession, redis: Redis, tenant_id: UUID) -> Entitlements:
    """Return what a tenant may use."""
    definition = await define(db, redis, tenant_id)
    counters = await counters_of(db, tenant_id, definition.period_start)
    return Entitlements(
        plan_code=definition.plan_code,
        access=definition.access,
        version=definition.version,
        period_start=definition.period_start,
        period_end=definition.period_end,
        features=[
            entitlement_of(definition, feature, counters.get(feature, Change()))
            for feature in sorted(definition.features)
        ],
    )


async def get(db: AsyncSession, redis: Redis, tenant_id: UUID, feature: str) -> Entitlement:
    """Return whether a tenant may use a feature; raises EntitlementNotFound."""
    entitlements = await summarise(db, redis, tenant_id)
    found = next((each for each in entitlements.features if each.feature == feature), None)
    if found is None:
        raise EntitlementNotFound
    return found


async def define(db: AsyncSession, redis: Redis, tenant_id: UUID) -> Definition:
    """Return what a tenant may use at most: from the cache, or from the database."""
    now = datetime.now(UTC)
    # The version first: what is read after it is at least as new.
    version = await entitlement_versions.current(db, tenant_id)
    if cached := await cache.get(redis, tenant_id, version, now):
        return cached
    current = await plan.of_tenant(db, tenant_id, now)
    granted_by_stripe = await stripe_features(db, tenant_id)
    definition = Definition(
        version=version,
        valid_until=min(now + cache.LIFETIME, current.period.end),
        plan_code=current.plan.code,
        access=current.access,
        seats=current.seats,
        period_start=current.period.start,
        period_end=current.period.end,
        features={
            feature: definition_of(current, feature, feature in granted_by_stripe)
            for feature in catalog().features | granted_by_stripe | current.grants.keys()
        },
    )
    await cache.put(redis, tenant_id, definition)
    return definition


def definition_of(current: TenantPlan, feature: str, is_granted_by_stripe: bool) -> FeatureDefinition:
    """Return what a tenant may use of a feature at most."""
    limit = current.limit(feature)
    if limit is not None:
        return FeatureDefinition(
            type="metered" if limit.resets else "static",
            is_included=True,
            limit=limit.limit,
            soft=not limit.is_hard,
            source="grant" if limit.source == "grant" else "plan",
        )
    if feature in current.grants:
        return FeatureDefinition(type="boolean", is_included=True, source="grant")
    if is_granted_by_stripe and not current.plan.includes(feature):
        return FeatureDefinition(type="boolean", is_included=True, source="stripe")
    return FeatureDefinition(type="boolean", is_included=current.plan.includes(feature))


async def stripe_features(db: AsyncSession, tenant_id: UUID) -> frozenset[str]:
    """Return the lookup keys of the features that Stripe grants, as its newest summary has them."""
    query = (
        select(StripeObject.state)
        .join(Customer, Customer.stripe_customer_id == StripeObject.object_id)
        .where(StripeObject.handler == "entitlements", Customer.tenant_id == tenant_id)
        .where(Customer.deleted_at.is_(None))
    )
    states = await db.scalars(query)
    return frozenset(key for state in states for key in (state or "").split(",") if key)


async def counters_of(db: AsyncSession, tenant_id: UUID, period_start: datetime) -> Mapping[str, Change]:
    """Return what is used and reserved of each feature."""
    query = select(UsageTotal.feature_key, UsageTotal.used, UsageTotal.reserved).where(
        UsageTotal.tenant_id == tenant_id,
        UsageTotal.scope == TENANT_SCOPE,
        UsageTotal.period_start == period_start,
    )
    return {feature: Change(used, reserved) for feature, used, reserved in await db.execute(query)}


def entitlement_of(definition: Definition, feature: str, counter: Change) -> Entitlement:
    """Return whether a feature may be used, by its limit and what of it is used."""
    own = definition.features[feature]
    used = Decimal(definition.seats) if feature == SEATS else counter.used
    taken = used + counter.reserved
    left = None if own.limit is None else max(own.limit - taken, ZERO)
    is_left = own.limit is None or own.soft or own.type == "static" or taken < own.limit
    may_use = own.type != "metered" or definition.access is not Access.READ_ONLY
    return Entitlement(
        feature=feature,
        has_access=own.is_included and is_left and may_use,
        type=own.type,
        limit=own.limit,
        used=used,
        reserved=counter.reserved,
        remaining=left,
        overage=ZERO if own.limit is None else max(taken - own.limit, ZERO),
        resets_at=definition.period_end if own.type == "metered" else None,
        soft=own.soft,
        source=own.source,
        version=definition.version,
    )

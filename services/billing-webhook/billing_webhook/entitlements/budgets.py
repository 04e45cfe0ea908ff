"""Budgets: the limits that a tenant sets itself."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

from pydantic import JsonValue
from servicekit.auth.claims import UUID_PATTERN
from sqlalchemy import ColumnElement, func, select, true
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook import audit, entitlement_versions
from billing_webhook.audit import Actor, AuditAction
from billing_webhook.entitlements import counters, plan, schemas
from billing_webhook.entitlements.counters import Change
from billing_webhook.entitlements.quotas import Quota, budgets_of, quota_of_budget
from billing_webhook.errors import BudgetAlreadyExists, BudgetNotFound, TooManyBudgets
from billing_webhook.models import Budget, UsageRecord
from billing_webhook.quantities import to_text

# Each is checked at every call of a run that it applies to.
MAX_BUDGETS = 1000
# An id that tells nothing of whose it is; any other text stays out of the audit log.
OPAQUE_ID = re.compile(f"(user:)?{UUID_PATTERN}")
FEATURES_OF_UNIT = {
    "messages": ("messages",),
    "tokens": ("input_tokens", "output_tokens"),
    "cost": ("cost",),
}


async def create(db: AsyncSession, actor: Actor, tenant_id: UUID, new: schemas.NewBudget) -> schemas.Budget:
    """Create a budget that counts what was already used in its current interval.

    Raises BudgetAlreadyExists or TooManyBudgets.
    """
    # Between reading the ledger's sum and storing the counter, no record must be added.
    await counters.lock_exclusive(db, tenant_id)
    if len(await budgets_of(db, tenant_id)) >= MAX_BUDGETS:
        raise TooManyBudgets
    row = insert(Budget).values(id=uuid4(), tenant_id=tenant_id, **new.model_dump())
    budget = await db.scalar(row.on_conflict_do_nothing().returning(Budget))
    if budget is None:
        raise BudgetAlreadyExists
    quota = await current_quota(db, budget)
    used = await sum_of_ledger(db, budget, quota)
    await counters.apply(db, {quota.key: Change(used=used)})
    await entitlement_versions.increment(db, tenant_id)
    record(db, actor, AuditAction.BUDGET_CREATED, budget)
    return await summarise(db, budget)


async def current_quota(db: AsyncSession, budget: Budget) -> Quota:
    """Return the limit of a budget in its current interval."""
    now = datetime.now(UTC)
    period = (await plan.of_tenant(db, budget.tenant_id, now)).period
    return quota_of_budget(budget, period, now)


async def sum_of_ledger(db: AsyncSession, budget: Budget, quota: Quota) -> Decimal:
    """Return what the ledger has for a budget in its current interval."""
    query = select(func.coalesce(func.sum(UsageRecord.quantity), 0)).where(
        UsageRecord.tenant_id == budget.tenant_id,
        UsageRecord.feature_key.in_(FEATURES_OF_UNIT[budget.unit]),
        UsageRecord.occurred_at >= quota.period.start,
        UsageRecord.occurred_at < quota.period.end,
        is_of(budget),
    )
    return (await db.execute(query)).scalar_one()


def is_of(budget: Budget) -> ColumnElement[bool]:
    """Return the condition by which a record counts for a budget."""
    columns = {
        "user": UsageRecord.user_id,
        "api_key": UsageRecord.api_key_id,
        "agent": UsageRecord.agent,
    }
    return true() if budget.scope_id is None else columns[budget.scope] == budget.scope_id


async def list_all(db: AsyncSession, tenant_id: UUID) -> list[schemas.Budget]:
    """List the budgets of a tenant, the oldest first."""
    budgets: Sequence[Budget] = sorted(await budgets_of(db, tenant_id), key=lambda budget: budget.created_at)
    return [await summarise(db, budget) for budget in budgets]


async def get(db: AsyncSession, tenant_id: UUID, budget_id: UUID) -> schemas.Budget:
    """Return a budget; raises BudgetNotFound."""
    return await summarise(db, await find(db, tenant_id, budget_id))


async def change(
    db: AsyncSession, actor: Actor, tenant_id: UUID, budget_id: UUID, change: schemas.BudgetChange
) -> schemas.Budget:
    """Change a budget; what is used and reserved stays. Raises BudgetNotFound."""
    budget = await find(db, tenant_id, budget_id)
    before: dict[str, JsonValue] = {"limit": to_text(budget.limit), "kind": budget.kind}
    for name, value in change.model_dump(exclude_none=True).items():
        setattr(budget, name, value)
    await db.flush()
    await db.refresh(budget)
    await entitlement_versions.increment(db, tenant_id)
    record(db, actor, AuditAction.BUDGET_CHANGED, budget, before=before)
    return await summarise(db, budget)


async def delete(db: AsyncSession, actor: Actor, tenant_id: UUID, budget_id: UUID) -> None:
    """Delete a budget; raises BudgetNotFound."""
    budget = await find(db, tenant_id, budget_id)
    await db.delete(budget)
    await entitlement_versions.increment(db, tenant_id)
    record(db, actor, AuditAction.BUDGET_DELETED, budget)


def record(db: AsyncSession, actor: Actor, action: AuditAction, budget: Budget, **detail: JsonValue) -> None:
    """Record in the audit log what was done to a budget."""
    named = {name: getattr(budget, name) for name in ("scope", "unit", "interval", "kind")}
    if budget.scope_id and OPAQUE_ID.fullmatch(budget.scope_id):
        named["scope_id"] = budget.scope_id
    described = {"budget_id": str(budget.id), **named, "limit": to_text(budget.limit)}
    audit.record(db, actor, action, tenant_id=budget.tenant_id, **described, **detail)


async def find(db: AsyncSession, tenant_id: UUID, budget_id: UUID) -> Budget:
    """Return a budget of the tenant; raises BudgetNotFound."""
    budget = await db.scalar(select(Budget).filter_by(tenant_id=tenant_id, id=budget_id))
    if budget is None:
        raise BudgetNotFound
    return budget


async def summarise(db: AsyncSession, budget: Budget) -> schemas.Budget:
    """Describe a budget with what of it is used now."""
    quota = await current_quota(db, budget)
    counter = await counters.read(db, quota.key)
    own = {name: getattr(budget, name) for name in schemas.Budget.model_fields if hasattr(budget, name)}
    return schemas.Budget(**own, used=counter.used, reserved=counter.reserved, resets_at=quota.period.end)

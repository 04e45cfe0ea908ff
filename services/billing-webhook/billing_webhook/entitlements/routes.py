"""HTTP routes of entitlements and budgets."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, status
from servicekit.app import ResourcesDep
from servicekit.database import Session
from servicekit.idempotency import IdempotentRoute

from billing_webhook.audit import Actor
from billing_webhook.dependencies import BillingManager, BillingReader, billing_enabled, own_tenant
from billing_webhook.entitlements import budgets, schemas, view

Feature = Annotated[str, Path(max_length=64)]

router = APIRouter(
    prefix="/api/v1/billing/tenants/{tenant_id}",
    tags=["entitlements"],
    dependencies=[billing_enabled, own_tenant],
    route_class=IdempotentRoute,
)


@router.get("/entitlements")
async def list_entitlements(
    tenant_id: UUID, _caller: BillingReader, db: Session, resources: ResourcesDep
) -> schemas.Entitlements:
    """Return what the tenant may use of each feature, and what of it is left."""
    return await view.summarise(db, resources.redis, tenant_id)


@router.get("/entitlements/{feature}")
async def get_entitlement(
    tenant_id: UUID, feature: Feature, _caller: BillingReader, db: Session, resources: ResourcesDep
) -> schemas.Entitlement:
    """Return whether the tenant may use a feature, and how much of it is left."""
    return await view.get(db, resources.redis, tenant_id, feature)


@router.get("/budgets")
async def list_budgets(tenant_id: UUID, _caller: BillingReader, db: Session) -> schemas.Budgets:
    """List the tenant's budgets with what of them is used."""
    return schemas.Budgets(items=await budgets.list_all(db, tenant_id))


@router.post("/budgets", status_code=status.HTTP_201_CREATED)
async def create_budget(
    tenant_id: UUID, new: schemas.NewBudget, caller: BillingManager, db: Session
) -> schemas.Budget:
    """Limit what the tenant, or one of its users, API keys or agents, may use.

    A hard budget refuses runs that would exceed it, a soft one warns.
    """
    return await budgets.create(db, Actor.of(caller), tenant_id, new)


@router.get("/budgets/{budget_id}")
async def get_budget(tenant_id: UUID, budget_id: UUID, _caller: BillingReader, db: Session) -> schemas.Budget:
    """Return a budget with what of it is used."""
    return await budgets.get(db, tenant_id, budget_id)


@router.patch("/budgets/{budget_id}")
async def change_budget(
    tenant_id: UUID, budget_id: UUID, change: schemas.BudgetChange, caller: BillingManager, db: Session
) -> schemas.Budget:
    """Change the limit or the kind of a budget."""
    return await budgets.change(db, Actor.of(caller), tenant_id, budget_id, change)


@router.delete("/budgets/{budget_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_budget(tenant_id: UUID, budget_id: UUID, caller: BillingManager, db: Session) -> None:
    """Delete a budget."""
    await budgets.delete(db, Actor.of(caller), tenant_id, budget_id)

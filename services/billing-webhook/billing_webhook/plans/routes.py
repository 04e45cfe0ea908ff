"""The route of the plans."""

from fastapi import APIRouter

from billing_webhook.dependencies import BillingReader, billing_enabled
from billing_webhook.plans import schemas
from billing_webhook.plans.catalog import catalog

router = APIRouter(prefix="/api/v1/billing", tags=["plans"], dependencies=[billing_enabled])


@router.get("/plans")
async def list_plans(_: BillingReader) -> schemas.Plans:
    """List the plans with their prices and features."""
    return schemas.Plans(plans=[schemas.PlanSummary.of(plan) for plan in catalog().plans])

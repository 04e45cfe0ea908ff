"""HTTP routes of usage."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from servicekit.database import Session

from billing_webhook.dependencies import BillingReader
from billing_webhook.entitlements.periods import Period
from billing_webhook.usage import ledger, schemas

router = APIRouter(prefix="/api/v1/billing", tags=["billing"])


def get_period(
    start: Annotated[
        schemas.UtcDatetime | None, Query(alias="from", description="Start of the period (UTC), inclusive.")
    ] = None,
    end: Annotated[
        schemas.UtcDatetime | None, Query(alias="to", description="End of the period (UTC), exclusive.")
    ] = None,
) -> Period:
    """Return the period of the query; by default, this calendar month."""
    return ledger.requested_period(start, end)


@router.get("/tenants/{tenant_id}/usage")
async def get_tenant_usage(
    tenant_id: UUID,
    caller: BillingReader,
    db: Session,
    period: Annotated[Period, Depends(get_period)],
) -> schemas.TenantUsage:
    """Sum the usage of a tenant's runs, in total and by model."""
    return await ledger.summarise(db, caller, tenant_id, period)

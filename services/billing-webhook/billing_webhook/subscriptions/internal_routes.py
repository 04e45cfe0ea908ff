"""Internal HTTP routes of subscriptions: notification reads where billing emails go."""

from uuid import UUID

from fastapi import APIRouter
from servicekit.auth.dependencies import service_only
from servicekit.database import Session

from billing_webhook.subscriptions import customers, schemas

router = APIRouter(
    prefix="/internal/v1/tenants/{tenant_id}",
    tags=["subscriptions"],
    dependencies=[service_only("billing:contact")],
)


@router.get("/billing-contact")
async def get_billing_contact(tenant_id: UUID, db: Session) -> schemas.BillingContact:
    """Return the tenant's address for billing, if it has one."""
    customer = await customers.find(db, tenant_id)
    return schemas.BillingContact(billing_email=customer and customer.billing_email)

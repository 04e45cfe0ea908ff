"""HTTP routes of billing-webhook."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, status
from servicekit.auth.dependencies import public, require
from servicekit.auth.tokens import Principal
from servicekit.database import Session

from billing_webhook import schemas, stripe_webhook, usage
from billing_webhook.errors import UnsupportedMediaType

BillingReader = Annotated[Principal, require("billing:read")]

billing = APIRouter(prefix="/api/v1/billing", tags=["billing"])
webhooks = APIRouter(
    prefix="/webhooks", tags=["webhooks"], dependencies=[public], max_body_size=stripe_webhook.MAX_BODY_BYTES
)


def get_period(
    start: Annotated[
        schemas.UtcDatetime | None, Query(alias="from", description="Start of the period (UTC), inclusive.")
    ] = None,
    end: Annotated[
        schemas.UtcDatetime | None, Query(alias="to", description="End of the period (UTC), exclusive.")
    ] = None,
) -> usage.Period:
    """Return the period of the query; by default, this calendar month."""
    return usage.Period.from_bounds(start, end)


@billing.get("/tenants/{tenant_id}/usage")
async def get_tenant_usage(
    tenant_id: UUID,
    caller: BillingReader,
    db: Session,
    period: Annotated[usage.Period, Depends(get_period)],
) -> schemas.TenantUsage:
    """Sum the usage of a tenant's runs, in total and by model."""
    return await usage.summarise(db, caller, tenant_id, period)


async def verified_event(
    request: Request,
    signature: Annotated[str, Header(alias="Stripe-Signature", description="Stripe's `t=…,v1=…`.")] = "",
) -> stripe_webhook.VerifiedEvent:
    """Verify the signature of the raw body."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType
    secrets = request.app.state.resources.settings.webhook_secrets
    return stripe_webhook.verify(await request.body(), signature, secrets)


@webhooks.post(
    "/stripe",
    status_code=status.HTTP_202_ACCEPTED,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object", "description": "A Stripe event."}}},
        }
    },
)
async def receive_stripe_event(
    event: Annotated[stripe_webhook.VerifiedEvent, Depends(verified_event)], db: Session
) -> schemas.Receipt:
    """Store an event of Stripe for later processing."""
    return schemas.Receipt(duplicate=not await stripe_webhook.store(db, event))
